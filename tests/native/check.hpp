// A small test harness. A test file includes it and is a program of its own:
//
//   #include "check.hpp"
//
//   TEST(sums) {
//       CHECK(1 + 1 == 2);
//       CHECK_EQUAL(1 + 1, 2);                              // prints both sides when they differ
//       CHECK_THROWS(std::stoi("x"), std::invalid_argument, "stoi");  // type, part of the message
//   }
//
// A failed check is reported and the test goes on. The program runs all its tests, or those that it
// is given by name, and exits with 1 if any has failed.
#pragma once
#include <cstdio>
#include <cstring>
#include <exception>
#include <sstream>
#include <string>
#include <vector>

namespace check {

struct Test {
    const char* name;
    void (*run)();
};

inline std::vector<Test>& tests() {
    static std::vector<Test> tests;
    return tests;
}

inline int failures = 0;

struct Registered {
    Registered(const char* name, void (*run)()) { tests().push_back({name, run}); }
};

inline void fail(const char* file, int line, const std::string& what) {
    ++failures;
    std::printf("%s:%d: %s\n", file, line, what.c_str());
}

template <class T>
std::string text(const T& value) {
    if constexpr (requires(std::ostringstream& out) { out << value; }) {
        std::ostringstream out;
        out << +value;
        return out.str();
    } else {
        return "?";
    }
}
inline std::string text(const std::string& value) {
    return '"' + value + '"';
}
inline std::string text(const char* value) {
    return text(std::string(value));
}
template <class T>
std::string text(const std::vector<T>& values) {
    std::string found = "{";
    for (const T& value : values) found += (found.size() > 1 ? ", " : "") + text(value);
    return found + "}";
}

template <class A, class B>
void equal(const A& a, const B& b, const char* what, const char* file, int line) {
    if (!(a == b)) fail(file, line, std::string(what) + ": " + text(a) + " != " + text(b));
}

template <class Exception, class Call>
void throws(const Call& call, const char* part, const char* what, const char* file, int line) {
    try {
        call();
        fail(file, line, std::string(what) + ": threw nothing");
    } catch (const Exception& error) {
        if (!std::strstr(error.what(), part))
            fail(file, line, std::string(what) + ": threw '" + error.what() + "'");
    } catch (const std::exception& error) {
        fail(file, line, std::string(what) + ": threw another type: " + error.what());
    }
}

inline bool wanted(const char* name, int argc, char** argv) {
    for (int i = 1; i < argc; ++i)
        if (!std::strcmp(name, argv[i])) return true;
    return argc == 1;
}

inline void run(const Test& test) try { test.run(); } catch (const std::exception& error) {
    fail(test.name, 0, std::string("threw '") + error.what() + "'");
}

inline int main(int argc, char** argv) {
    int ran = 0, failed = 0;
    for (const Test& test : tests()) {
        if (!wanted(test.name, argc, argv)) continue;
        const int before = failures;
        run(test);
        ++ran;
        failed += failures != before;
        std::printf("%s  %s\n", failures == before ? "passed" : "FAILED", test.name);
        std::fflush(stdout);
    }
    std::printf("%d tests, %d failed\n", ran, failed);
    return failed || !ran;
}

}  // namespace check

#define TEST(name)                                                        \
    static void test_##name();                                            \
    static const check::Registered registered_##name(#name, test_##name); \
    static void test_##name()
#define CHECK(holds)                                           \
    do {                                                       \
        if (!(holds)) check::fail(__FILE__, __LINE__, #holds); \
    } while (false)
#define CHECK_EQUAL(a, b) check::equal((a), (b), #a " == " #b, __FILE__, __LINE__)
#define CHECK_THROWS(call, exception, part) \
    check::throws<exception>([&] { (void)(call); }, part, #call, __FILE__, __LINE__)

int main(int argc, char** argv) {
    return check::main(argc, argv);
}
