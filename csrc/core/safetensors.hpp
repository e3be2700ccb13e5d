// A safetensors file, read strictly: names, types and shapes of its tensors, and its metadata.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace symplectic_cv {

class Safetensors {
  public:
    /// Reads the header of a file held in memory, which must outlive this object.
    /// Throws FormatError unless the header describes exactly the bytes behind it.
    Safetensors(const std::uint8_t* data, std::size_t size);

    const std::map<std::string, std::string>& metadata() const { return metadata_; }
    /// Position of the characters of a metadata value in the file: offset and length as written.
    std::pair<std::size_t, std::size_t> metadata_place(const std::string& key) const;

    bool has(const std::string& name) const { return tensors_.count(name) > 0; }
    /// Shape of a tensor; FormatError where there is none of this name.
    const std::vector<std::uint64_t>& shape(const std::string& name) const;

    /// Copies of tensors of the dtype and the number of dimensions asked for; FormatError
    /// otherwise.
    std::vector<std::int64_t> integers(const std::string& name, std::size_t dimensions) const;
    std::vector<double> doubles(const std::string& name, std::size_t dimensions) const;
    std::vector<float> floats(const std::string& name, std::size_t dimensions) const;

  private:
    struct Tensor {
        std::string dtype;
        std::vector<std::uint64_t> shape;
        std::uint64_t begin = 0, end = 0;
    };
    const Tensor& find(const std::string& name) const;
    template <typename T>
    std::vector<T> copy(const std::string& name, const char* dtype, std::size_t dimensions) const;
    void check_extents() const;

    const std::uint8_t* buffer_ = nullptr;
    std::uint64_t buffer_size_ = 0;
    std::map<std::string, Tensor> tensors_;
    std::map<std::string, std::string> metadata_;
    std::map<std::string, std::pair<std::size_t, std::size_t>> places_;

    friend class HeaderParser;
};

}  // namespace symplectic_cv
