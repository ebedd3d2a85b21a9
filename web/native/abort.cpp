// What the standard libraries call before they abort. Theirs format a message that nobody would
// see, and bring printf along. This file needs nothing else of the libraries, and the linker reads
// it first: it takes the first definition that it needs.
#include <cstdlib>

extern "C" [[gnu::visibility("hidden")]] void __abort_message(const char*, ...) {
    std::abort();
}

_LIBCPP_BEGIN_NAMESPACE_STD
[[noreturn]] void __libcpp_verbose_abort(const char*, ...) noexcept {
    std::abort();
}
_LIBCPP_END_NAMESPACE_STD
