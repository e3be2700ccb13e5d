#include "base64.hpp"

#include <array>
#include <cstdint>
#include <stdexcept>

namespace symplectic_cv {

namespace {

constexpr char kDigits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

std::array<int, 256> inverse() {
    std::array<int, 256> table;
    table.fill(-1);
    for (int i = 0; i < 64; ++i) table[static_cast<unsigned char>(kDigits[i])] = i;
    return table;
}

}  // namespace

std::string to_base64(const std::string& bytes) {
    std::string out;
    out.reserve((bytes.size() + 2) / 3 * 4);
    for (std::size_t i = 0; i < bytes.size(); i += 3) {
        std::uint32_t group = 0;
        for (std::size_t k = 0; k < 3; ++k)
            group =
                group << 8 | (i + k < bytes.size() ? static_cast<unsigned char>(bytes[i + k]) : 0);
        for (std::size_t k = 0; k < 4; ++k)
            out += i + k <= bytes.size() ? kDigits[group >> (18 - 6 * k) & 63] : '=';
    }
    return out;
}

std::string from_base64(const std::string& text) {
    static const std::array<int, 256> table = inverse();
    if (text.size() % 4 != 0) throw std::invalid_argument("not base64: cut short");
    std::string out;
    out.reserve(text.size() / 4 * 3);
    for (std::size_t i = 0; i < text.size(); i += 4) {
        std::uint32_t group = 0;
        std::size_t filled = 4;
        for (std::size_t k = 0; k < 4; ++k) {
            const char c = text[i + k];
            const bool end = i + 4 == text.size() && k >= 2 && c == '=';
            if (end && filled == 4) filled = k;
            const int digit = end ? 0 : table[static_cast<unsigned char>(c)];
            if (digit < 0 || (!end && filled < 4))
                throw std::invalid_argument("not base64: a wrong character");
            group = group << 6 | std::uint32_t(digit);
        }
        for (std::size_t k = 0; k + 1 < filled; ++k) out += char(group >> (16 - 8 * k) & 255);
    }
    return out;
}

}  // namespace symplectic_cv
