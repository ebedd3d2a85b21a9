// What the bindings of all cores need.
#pragma once
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include "native/require.hpp"

namespace lmht {

// A contiguous NumPy array of N dimensions. `const T` also takes arrays that are read-only.
template <class T, int N>
using Array = nanobind::ndarray<T, nanobind::ndim<N>, nanobind::c_contig, nanobind::device::cpu>;

}  // namespace lmht
