#include "modes.hpp"

#include <algorithm>
#include <limits>

#include "error.hpp"
#include "flow.hpp"
#include "sha256.hpp"
#include "torsions.hpp"

namespace symplectic_cv {

namespace {

constexpr std::size_t kMostAtoms = 100'000;
constexpr std::size_t kDigestDigits = 64;

std::vector<std::int64_t> read_atoms(const Safetensors& file) {
    auto atoms = file.integers("atoms", 1);
    require(!atoms.empty() && atoms.size() <= kMostAtoms,
            "tensor atoms has not from 1 to 100000 places");
    auto sorted = atoms;
    std::sort(sorted.begin(), sorted.end());
    require(sorted.front() >= 0 && sorted.back() < std::numeric_limits<int>::max() &&
                std::adjacent_find(sorted.begin(), sorted.end()) == sorted.end(),
            "tensor atoms names an atom twice, or one that cannot be");
    return atoms;
}

/// The file's SHA-256, once it and the number of the format have been found right.
std::string checked_digest(const Safetensors& file, const std::uint8_t* data, std::size_t size) {
    const auto& metadata = file.metadata();
    const auto format = metadata.find("format");
    require(format != metadata.end() && format->second == "1",
            "it is not of format 1, which this version reads");
    const auto [offset, length] = file.metadata_place("sha256");
    std::string digest = metadata.at("sha256");
    require(length == kDigestDigits && digest.size() == kDigestDigits,
            "its SHA-256 is not one of 64 digits");
    Sha256 sum;  // of the file with these digits at zero
    sum.update(data, offset);
    sum.update(std::string(kDigestDigits, '0').data(), kDigestDigits);
    sum.update(data + offset + kDigestDigits, size - offset - kDigestDigits);
    require(sum.digest() == digest, "it was altered since it was written (its SHA-256 differs)");
    return digest;
}

}  // namespace

std::unique_ptr<Modes> Modes::read(const std::uint8_t* data, std::size_t size,
                                   const char* instructions) {
    const Safetensors file(data, size);
    std::string digest = checked_digest(file, data, size);
    const auto kind = file.metadata().find("kind");
    if (kind == file.metadata().end())
        return std::make_unique<Flow>(file, std::move(digest), instructions);
    require(kind->second == "torsions", "its modes are of an unknown kind");
    return std::make_unique<Torsions>(file, std::move(digest));
}

Modes::Modes(const Safetensors& file, std::string sha256)
    : sha256_(std::move(sha256)), atoms_(read_atoms(file)) {}

void Modes::evaluate(Workspace& work, std::size_t frames, const double* positions,
                     const double* boxes, int m, const double* combinations, double* values,
                     double* gradients) const {
    const std::size_t size = 3 * std::size_t(n_atoms()), modes = std::size_t(n_modes());
    for (std::size_t start = 0; start < frames; start += kBlock) {
        const int count = int(std::min<std::size_t>(kBlock, frames - start));
        forward(work, count, positions + start * size, boxes ? boxes + 9 * start : nullptr, m > 0,
                values + start * modes);
        if (m > 0) reverse(work, count, m, combinations, gradients + start * std::size_t(m) * size);
    }
}

Modes::Loan::Loan(const Modes& modes) : modes_(modes) {
    {
        const std::lock_guard<std::mutex> lock(modes.pool_lock_);
        if (!modes.pool_.empty()) {
            work_ = std::move(modes.pool_.back());
            modes.pool_.pop_back();
        }
    }
    if (!work_) work_ = modes.workspace();
}

Modes::Loan::~Loan() {
    const std::lock_guard<std::mutex> lock(modes_.pool_lock_);
    try {
        modes_.pool_.push_back(std::move(work_));
    } catch (...) {  // no memory to keep it: then it is given up
    }
}

}  // namespace symplectic_cv
