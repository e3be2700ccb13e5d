#include "safetensors.hpp"

#include <algorithm>
#include <cstring>
#include <limits>

#include "error.hpp"

namespace symplectic_cv {

static_assert(sizeof(float) == 4 && sizeof(double) == 8, "IEEE types");
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the file format is little-endian and is copied as it is"
#endif

namespace {

constexpr std::uint64_t kLargestHeader = 100'000'000;  // as in the format's own specification

}  // namespace

// The subset of JSON that a safetensors header is written in; there is nothing nested to recurse
// on.
class HeaderParser {
  public:
    HeaderParser(const char* text, std::size_t size, std::size_t offset)
        : text_(text), size_(size), offset_(offset) {}

    void parse(Safetensors& file) {
        expect('{');
        if (!accept('}')) {
            do {
                const std::string name = string();
                expect(':');
                if (name == "__metadata__")
                    metadata(file);
                else
                    require(file.tensors_.emplace(name, tensor()).second,
                            "a tensor is named twice");
            } while (accept(','));
            expect('}');
        }
        skip();
        require(at_ == size_, "there is something behind the header's last brace");
    }

  private:
    void skip() {
        while (at_ < size_ && (text_[at_] == ' ' || text_[at_] == '\n' || text_[at_] == '\r' ||
                               text_[at_] == '\t'))
            ++at_;
    }
    char next() {
        require(at_ < size_, "the header ends too early");
        return text_[at_++];
    }
    bool accept(char wanted) {
        skip();
        if (at_ < size_ && text_[at_] == wanted) {
            ++at_;
            return true;
        }
        return false;
    }
    void expect(char wanted) {
        require(accept(wanted), std::string("the header lacks a '") + wanted + "'");
    }

    unsigned hexadecimal() {
        unsigned value = 0;
        for (int i = 0; i < 4; ++i) {
            const char c = next();
            value *= 16;
            if (c >= '0' && c <= '9')
                value += unsigned(c - '0');
            else if (c >= 'a' && c <= 'f')
                value += unsigned(c - 'a') + 10;
            else if (c >= 'A' && c <= 'F')
                value += unsigned(c - 'A') + 10;
            else
                throw FormatError("the header holds a broken \\u escape");
        }
        return value;
    }
    static void append_utf8(std::string& out, unsigned code) {
        if (code < 0x80) {
            out += char(code);
        } else if (code < 0x800) {
            out += char(0xc0 | code >> 6);
            out += char(0x80 | (code & 63));
        } else if (code < 0x10000) {
            out += char(0xe0 | code >> 12);
            out += char(0x80 | (code >> 6 & 63));
            out += char(0x80 | (code & 63));
        } else {
            out += char(0xf0 | code >> 18);
            out += char(0x80 | (code >> 12 & 63));
            out += char(0x80 | (code >> 6 & 63));
            out += char(0x80 | (code & 63));
        }
    }
    void escape(std::string& out) {
        const char c = next();
        switch (c) {
            case '"':
            case '\\':
            case '/':
                out += c;
                return;
            case 'b':
                out += '\b';
                return;
            case 'f':
                out += '\f';
                return;
            case 'n':
                out += '\n';
                return;
            case 'r':
                out += '\r';
                return;
            case 't':
                out += '\t';
                return;
            case 'u': {
                unsigned code = hexadecimal();
                if (code >= 0xd800 && code < 0xdc00) {
                    require(next() == '\\' && next() == 'u', "the header holds half a surrogate");
                    const unsigned low = hexadecimal();
                    require(low >= 0xdc00 && low < 0xe000, "the header holds half a surrogate");
                    code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
                }
                require(code < 0xdc00 || code >= 0xe000, "the header holds half a surrogate");
                append_utf8(out, code);
                return;
            }
            default:
                throw FormatError("the header holds an unknown escape");
        }
    }
    std::string string() {
        expect('"');
        std::string out;
        for (;;) {
            const char c = next();
            if (c == '"') return out;
            require(static_cast<unsigned char>(c) >= 0x20, "the header holds a control character");
            if (c == '\\')
                escape(out);
            else
                out += c;
        }
    }
    std::uint64_t number() {
        skip();
        const std::size_t start = at_;
        std::uint64_t value = 0;
        while (at_ < size_ && text_[at_] >= '0' && text_[at_] <= '9') {
            const std::uint64_t digit = std::uint64_t(text_[at_] - '0');
            require(value <= (std::numeric_limits<std::uint64_t>::max() - digit) / 10,
                    "the header holds a number that is too large");
            value = 10 * value + digit;
            ++at_;
        }
        require(at_ > start, "the header lacks a whole number");
        return value;
    }
    std::vector<std::uint64_t> numbers() {
        expect('[');
        std::vector<std::uint64_t> out;
        if (accept(']')) return out;
        do {
            out.push_back(number());
            require(out.size() <= 8, "the header gives a list of more than 8 numbers");
        } while (accept(','));
        expect(']');
        return out;
    }
    Safetensors::Tensor tensor() {
        Safetensors::Tensor out;
        bool dtype = false, shape = false, offsets = false;
        expect('{');
        do {
            const std::string key = string();
            expect(':');
            if (key == "dtype" && !dtype) {
                out.dtype = string();
                dtype = true;
            } else if (key == "shape" && !shape) {
                out.shape = numbers();
                shape = true;
            } else if (key == "data_offsets" && !offsets) {
                const auto pair = numbers();
                require(pair.size() == 2, "data_offsets are not two numbers");
                out.begin = pair[0];
                out.end = pair[1];
                offsets = true;
            } else {
                throw FormatError("the header describes a tensor by an unknown or repeated key");
            }
        } while (accept(','));
        expect('}');
        require(dtype && shape && offsets, "the header describes a tensor incompletely");
        return out;
    }
    void metadata(Safetensors& file) {
        require(file.metadata_.empty(), "the header holds metadata twice");
        expect('{');
        if (accept('}')) return;
        do {
            const std::string key = string();
            expect(':');
            skip();
            const std::size_t start = at_ + 1;
            require(file.metadata_.emplace(key, string()).second, "a metadata key is there twice");
            file.places_[key] = {offset_ + start, at_ - 1 - start};
        } while (accept(','));
        expect('}');
    }

    const char* text_;
    std::size_t size_, offset_, at_ = 0;
};

Safetensors::Safetensors(const std::uint8_t* data, std::size_t size) {
    require(size >= 8, "it is shorter than the length of its header");
    std::uint64_t header = 0;
    std::memcpy(&header, data, 8);
    require(header <= kLargestHeader && header <= size - 8,
            "it is truncated, or its byte order is not little-endian: the header has " +
                std::to_string(header) + " bytes, the file " + std::to_string(size));
    buffer_ = data + 8 + header;
    buffer_size_ = size - 8 - header;
    HeaderParser(reinterpret_cast<const char*>(data) + 8, std::size_t(header), 8).parse(*this);
    check_extents();
}

void Safetensors::check_extents() const {
    std::vector<std::pair<std::uint64_t, std::uint64_t>> extents;
    for (const auto& [name, tensor] : tensors_) {
        std::uint64_t bytes = 0;
        if (tensor.dtype == "I64" || tensor.dtype == "F64")
            bytes = 8;
        else if (tensor.dtype == "F32")
            bytes = 4;
        require(bytes > 0, "tensor " + name + " is of a type other than I64, F64, F32");
        for (std::uint64_t side : tensor.shape) {
            require(side <= buffer_size_ && (side == 0 || bytes <= buffer_size_ / side),
                    "tensor " + name + " is larger than the file");
            bytes *= side;
        }
        require(tensor.begin <= tensor.end && tensor.end <= buffer_size_,
                "tensor " + name + " lies outside of the file");
        require(tensor.end - tensor.begin == bytes,
                "tensor " + name + " has not the size it names");
        extents.emplace_back(tensor.begin, tensor.end);
    }
    std::sort(extents.begin(), extents.end());
    std::uint64_t reached = 0;
    for (const auto& [begin, end] : extents) {
        require(begin == reached, "its tensors overlap or leave a gap");
        reached = end;
    }
    require(reached == buffer_size_, "it is longer than its tensors");
}

std::pair<std::size_t, std::size_t> Safetensors::metadata_place(const std::string& key) const {
    const auto found = places_.find(key);
    require(found != places_.end(), "its metadata lack " + key);
    return found->second;
}

const Safetensors::Tensor& Safetensors::find(const std::string& name) const {
    const auto found = tensors_.find(name);
    require(found != tensors_.end(), "tensor " + name + " is missing");
    return found->second;
}

const std::vector<std::uint64_t>& Safetensors::shape(const std::string& name) const {
    return find(name).shape;
}

template <typename T>
std::vector<T> Safetensors::copy(const std::string& name, const char* dtype,
                                 std::size_t dimensions) const {
    const Tensor& tensor = find(name);
    require(tensor.dtype == dtype, "tensor " + name + " is not of type " + dtype);
    require(tensor.shape.size() == dimensions,
            "tensor " + name + " has not " + std::to_string(dimensions) + " dimensions");
    std::vector<T> out(std::size_t(tensor.end - tensor.begin) / sizeof(T));
    if (!out.empty()) std::memcpy(out.data(), buffer_ + tensor.begin, out.size() * sizeof(T));
    return out;
}

std::vector<std::int64_t> Safetensors::integers(const std::string& name,
                                                std::size_t dimensions) const {
    return copy<std::int64_t>(name, "I64", dimensions);
}
std::vector<double> Safetensors::doubles(const std::string& name, std::size_t dimensions) const {
    return copy<double>(name, "F64", dimensions);
}
std::vector<float> Safetensors::floats(const std::string& name, std::size_t dimensions) const {
    return copy<float>(name, "F32", dimensions);
}

}  // namespace symplectic_cv
