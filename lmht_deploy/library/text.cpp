#include "text.hpp"

#include <algorithm>

namespace lmht::library {

std::string trimmed(const std::string& text) {
    const char* const space = " \t\n\v\f\r";
    const size_t first = text.find_first_not_of(space);
    if (first == std::string::npos) return "";
    return text.substr(first, text.find_last_not_of(space) - first + 1);
}

std::string lower(std::string text) {
    for (char& c : text)
        if (c >= 'A' && c <= 'Z') c = char(c - 'A' + 'a');
    return text;
}

std::string upper(std::string text) {
    for (char& c : text)
        if (c >= 'a' && c <= 'z') c = char(c - 'a' + 'A');
    return text;
}

std::vector<std::string> split(const std::string& text, char separator) {
    std::vector<std::string> parts;
    size_t start = 0;
    for (size_t end; (end = text.find(separator, start)) != std::string::npos; start = end + 1)
        parts.push_back(text.substr(start, end - start));
    parts.push_back(text.substr(start));
    return parts;
}

std::pair<std::string, std::string> partition(const std::string& text,
                                              const std::string& separator) {
    const size_t at = text.find(separator);
    if (at == std::string::npos) return {text, ""};
    return {text.substr(0, at), text.substr(at + separator.size())};
}

bool starts_with(const std::string& text, const std::string& start) {
    return text.compare(0, start.size(), start) == 0;
}

bool is_number(const std::string& text) {
    return !text.empty() &&
           std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

int64_t number_of(const std::string& text) {
    if (!is_number(text)) return -1;
    int64_t number = 0;
    for (const char c : text) {
        if (number >= int64_t(1) << 58) return -1;
        number = number * 10 + (c - '0');
    }
    return number;
}

std::string shown(const std::string& text) {
    std::string found = text.substr(0, 40);
    for (char& c : found)
        if (c < 0x20 || c > 0x7E) c = '?';
    return "'" + found + "'";
}

}  // namespace lmht::library
