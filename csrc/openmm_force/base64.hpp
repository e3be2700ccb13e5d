// Base64 (RFC 4648), in which a file travels inside OpenMM's XML.
#pragma once

#include <string>

namespace symplectic_cv {

std::string to_base64(const std::string& bytes);
/// Throws std::invalid_argument for text that is not base64.
std::string from_base64(const std::string& text);

}  // namespace symplectic_cv
