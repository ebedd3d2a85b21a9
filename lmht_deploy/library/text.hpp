// Small texts of file headers.
#pragma once
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace lmht::library {

std::string trimmed(const std::string& text);
std::string lower(std::string text);
std::string upper(std::string text);
std::vector<std::string> split(const std::string& text, char separator);
// What is before and behind the first `separator`; all of it and nothing where there is none.
std::pair<std::string, std::string> partition(const std::string& text,
                                              const std::string& separator);
bool starts_with(const std::string& text, const std::string& start);
bool is_number(const std::string& text);  // digits alone
// The number of a text of digits; -1 for another text and beyond 2^62.
int64_t number_of(const std::string& text);
// For a message: short, and without what is not printable.
std::string shown(const std::string& text);

}  // namespace lmht::library
