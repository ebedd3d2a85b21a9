// Python bindings of the decoders, for module.cpp alone.
#pragma once
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/unique_ptr.h>

#include <algorithm>
#include <memory>
#include <stdexcept>

#include "decoders.hpp"

namespace nb = nanobind;

namespace lmht::events {

using Bytes = nb::ndarray<const uint8_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Decoded = nb::ndarray<nb::numpy, uint8_t, nb::ndim<2>>;

inline Decoded decode(Decoder& decoder, const Bytes& bytes) {
    if (bytes.size() % decoder.word_bytes())
        throw std::invalid_argument("the bytes do not hold whole words");
    Event* events;
    size_t number;
    {
        nb::gil_scoped_release released;
        const size_t most = bytes.size() / decoder.word_bytes() * decoder.max_events();
        const std::unique_ptr<Event[]> room(new Event[most]);  // not initialized: it may be large
        number = size_t(decoder.decode(bytes.data(), bytes.size(), room.get()) - room.get());
        events = new Event[number];
        std::copy_n(room.get(), number, events);
    }
    const nb::capsule owner(events,
                            [](void* kept) noexcept { delete[] static_cast<Event*>(kept); });
    return {events, {number, sizeof(Event)}, owner};
}

inline void bind_decoders(nb::module_& module) {
    nb::class_<Decoder>(module, "Decoder", "Decodes the bytes of an event file piece by piece.")
        .def_prop_ro("word_bytes", &Decoder::word_bytes, "Bytes of a word; pieces hold whole ones.")
        .def_prop_ro("complete", &Decoder::complete, "Whether the bytes so far end between events.")
        .def("decode", &decode, nb::arg("bytes").noconvert(),
             "Decodes uint8 [n] to packed events uint8 [m, 13].");
    module.def("make_decoder", &make_decoder, nb::arg("format"),
               "The decoder of 'evt2', 'evt2.1', 'evt2.1-legacy', 'evt3', 'dat', 'es-dvs' or "
               "'es-atis'.");
}

}  // namespace lmht::events
