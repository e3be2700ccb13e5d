// SHA-256 (FIPS 180-4), so that an altered file is noticed without a library for it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace symplectic_cv {

class Sha256 {
  public:
    void update(const void* data, std::size_t size);
    /// 64 lower-case hexadecimal digits; the object is spent afterwards.
    std::string digest();

  private:
    void block(const std::uint8_t* data);

    std::uint32_t state_[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                               0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    std::uint8_t rest_[64] = {};
    std::uint64_t size_ = 0;
};

}  // namespace symplectic_cv
