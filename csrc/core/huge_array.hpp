// One stretch of memory on huge pages, where the system has them to give.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <memory>
#include <new>
#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace symplectic_cv {

/// The weights of a flow fill most of a second-level cache. On scattered small pages they collide
/// in it, by luck of the process; on one huge page they do not.
class HugeArray {
  public:
    HugeArray() = default;
    explicit HugeArray(std::size_t floats) {
        if (floats == 0) return;
        const std::size_t bytes = (floats * sizeof(float) + kPage - 1) / kPage * kPage;
        data_.reset(static_cast<float*>(std::aligned_alloc(kPage, bytes)));
        if (!data_) throw std::bad_alloc();
#if defined(__linux__) && defined(MADV_HUGEPAGE)
        madvise(data_.get(), bytes, MADV_HUGEPAGE);  // a wish: without it all works as well
#endif
    }
    float* data() const { return data_.get(); }

  private:
    static constexpr std::size_t kPage = std::size_t(2) << 20;
    struct Free {
        void operator()(float* p) const { std::free(p); }
    };
    std::unique_ptr<float, Free> data_;
};

}  // namespace symplectic_cv
