#include "shared_modes.hpp"

#include <cstdint>
#include <cstring>
#include <map>

namespace symplectic_cv {

SharedModes::SharedModes(std::string content)
    : content_(std::move(content)),
      modes_(Modes::read(reinterpret_cast<const std::uint8_t*>(content_.data()), content_.size())) {
    for (Slot& slot : slots_) slot.work = modes_->workspace();
    const std::size_t n = std::size_t(modes_->n_modes());
    identity_.assign(n * n, 0.0);
    for (std::size_t k = 0; k < n; ++k) identity_[k * n + k] = 1.0;
}

std::shared_ptr<SharedModes> SharedModes::of(const std::string& content) {
    static std::mutex lock;
    static std::map<std::string, std::weak_ptr<SharedModes>> known;
    const std::lock_guard<std::mutex> held(lock);
    for (auto place = known.begin(); place != known.end();)
        place = place->second.expired() ? known.erase(place) : std::next(place);
    // by the whole content: nothing but the same bytes may take an object's place
    if (const auto found = known.find(content); found != known.end())
        if (auto modes = found->second.lock()) return modes;
    auto fresh = std::make_shared<SharedModes>(content);
    known[content] = fresh;
    return fresh;
}

void SharedModes::evaluate(const void* slot, const double* positions, const double* box,
                           Evaluation& result) {
    const std::size_t size = 3 * std::size_t(modes_->n_atoms());
    const std::size_t modes = std::size_t(modes_->n_modes());
    Slot& at = slots_[(reinterpret_cast<std::uintptr_t>(slot) >> 6) % kSlots];
    const std::lock_guard<std::mutex> held(at.lock);
    const bool known = at.key.size() == size + 9 && at.periodic == (box != nullptr) &&
                       std::memcmp(at.key.data(), positions, size * sizeof(double)) == 0 &&
                       (!box || std::memcmp(&at.key[size], box, 9 * sizeof(double)) == 0);
    if (!known) {
        at.key.clear();  // until the result is there
        at.result.values.resize(modes);
        at.result.gradients.resize(modes * size);
        modes_->evaluate(*at.work, 1, positions, box, int(modes), identity_.data(),
                         at.result.values.data(), at.result.gradients.data());
        ++at.evaluations;
        at.key.assign(positions, positions + size);
        at.key.resize(size + 9, 0.0);
        if (box) std::memcpy(&at.key[size], box, 9 * sizeof(double));
        at.periodic = box != nullptr;
    }
    result = at.result;
}

long SharedModes::evaluations() const {
    long sum = 0;
    for (Slot& slot : slots_) {
        const std::lock_guard<std::mutex> held(slot.lock);
        sum += slot.evaluations;
    }
    return sum;
}

}  // namespace symplectic_cv
