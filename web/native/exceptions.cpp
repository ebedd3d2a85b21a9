// Exceptions of the cores become exceptions of JavaScript. The standard library of WebAssembly has
// no unwinder: `throw` calls the page, which throws, and JavaScript unwinds the frames without
// destructors. The caller in lmht.js then restores the stack.
#include <cstdlib>
#include <exception>
#include <new>
#include <stdexcept>
#include <typeinfo>

#include "library/errors.hpp"

namespace {

using lmht::library::Error;

bool is(const std::type_info* type, const std::type_info& wanted) {
    return *type == wanted;
}

// As `guarded` in library/api.hpp. Every exception of the cores is a std::exception.
lmht_status status_of(const void* exception, const std::type_info* type) {
    if (is(type, typeid(Error))) return static_cast<const Error*>(exception)->status;
    if (is(type, typeid(std::bad_alloc)) || is(type, typeid(std::length_error)))
        return LMHT_OUT_OF_MEMORY;
    return is(type, typeid(std::invalid_argument)) ? LMHT_INVALID_ARGUMENT : LMHT_INTERNAL_ERROR;
}

}  // namespace

extern "C" {

[[noreturn, clang::import_module("lmht"), clang::import_name("raise")]] void lmht_web_raise(
    lmht_status status, const char* message);

void* __cxa_allocate_exception(size_t size) {
    return std::malloc(size);
}

[[noreturn]] void __cxa_throw(void* exception, std::type_info* type, void (*)(void*)) {
    lmht_web_raise(status_of(exception, type),
                   static_cast<const std::exception*>(exception)->what());
}

// Named by `catch` clauses, which never run.
void __cxa_free_exception(void*) {}
void* __cxa_begin_catch(void* exception) {
    return exception;
}
void __cxa_end_catch() {}
void __cxa_rethrow() {
    std::abort();
}

// The stack pointer, for the caller to restore.
asm(".globaltype __stack_pointer, i32");
void* lmht_web_stack() {
    void* stack;
    asm("global.get __stack_pointer\n local.set %0" : "=r"(stack));
    return stack;
}
void lmht_web_restore(void* stack) {
    asm volatile("local.get %0\n global.set __stack_pointer" : : "r"(stack));
}
}
