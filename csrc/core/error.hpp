// Errors of the loader about a file that it cannot use.
#pragma once

#include <stdexcept>
#include <string>

namespace symplectic_cv {

/// A file that is truncated, altered, or not of the format; the message names what is wrong.
class FormatError : public std::runtime_error {
  public:
    explicit FormatError(const std::string& what) : std::runtime_error(what) {}
};

inline void require(bool holds, const char* otherwise) {
    if (!holds) throw FormatError(otherwise);
}
inline void require(bool holds, const std::string& otherwise) {
    if (!holds) throw FormatError(otherwise);
}

}  // namespace symplectic_cv
