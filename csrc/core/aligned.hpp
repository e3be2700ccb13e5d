// Arrays that start on a cache line, as the vector kernels want them.
#pragma once

#include <cstddef>
#include <new>
#include <vector>

namespace symplectic_cv {

constexpr std::size_t kAlignment = 64;
/// Rows of floats are padded to whole cache lines: 16 of them.
constexpr int kLane = 16;

inline int padded(int n) { return (n + kLane - 1) / kLane * kLane; }

template <typename T>
struct AlignedAllocator {
    using value_type = T;
    AlignedAllocator() = default;
    template <typename U>
    AlignedAllocator(const AlignedAllocator<U>&) {}
    T* allocate(std::size_t n) {
        return static_cast<T*>(::operator new(n * sizeof(T), std::align_val_t(kAlignment)));
    }
    void deallocate(T* p, std::size_t) { ::operator delete(p, std::align_val_t(kAlignment)); }
    template <typename U>
    bool operator==(const AlignedAllocator<U>&) const {
        return true;
    }
    template <typename U>
    bool operator!=(const AlignedAllocator<U>&) const {
        return false;
    }
};

template <typename T>
using Aligned = std::vector<T, AlignedAllocator<T>>;

}  // namespace symplectic_cv
