// The Python module symplectic_cv._core: what symplectic_cv/exporting/native_core.py wraps.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/unique_ptr.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <optional>
#include <stdexcept>

#include "error.hpp"
#include "flow.hpp"
#include "torsions.hpp"

namespace nb = nanobind;
using symplectic_cv::Flow;
using symplectic_cv::Modes;
using symplectic_cv::Torsions;

namespace {

template <typename T>
using In = nb::ndarray<const T, nb::c_contig, nb::device::cpu>;
using Out = nb::ndarray<double, nb::c_contig, nb::device::cpu>;

void require_shape(bool holds, const char* what) {
    if (!holds) throw std::invalid_argument(what);
}

/// The modes in frames of a whole system, a block at a time; the arrays are those of Python.
template <typename T>
void evaluate(const Modes& modes, const In<T>& positions, const std::optional<In<double>>& boxes,
              const std::optional<In<double>>& combinations, Out& values,
              std::optional<Out>& gradients, bool selected) {
    require_shape(positions.ndim() == 3 && positions.shape(2) == 3, "positions are not (F, N, 3)");
    const std::size_t frames = positions.shape(0), system = positions.shape(1);
    const std::size_t atoms = std::size_t(modes.n_atoms()),
                      count_modes = std::size_t(modes.n_modes());
    std::vector<std::size_t> places;
    for (std::size_t i = 0; i < atoms; ++i)
        places.push_back(selected ? i : std::size_t(modes.atoms()[i]));
    for (std::size_t place : places)
        require_shape(place < system && (!selected || system == atoms), "positions lack atoms");
    require_shape(values.ndim() == 2 && values.shape(0) == frames && values.shape(1) == count_modes,
                  "values are not (F, modes)");
    if (boxes)
        require_shape(boxes->ndim() == 3 && boxes->shape(0) == frames && boxes->shape(1) == 3 &&
                          boxes->shape(2) == 3,
                      "boxes are not (F, 3, 3)");
    require_shape(combinations.has_value() == gradients.has_value(), "gradients lack combinations");
    std::size_t m = 0;
    if (combinations) {
        require_shape(combinations->ndim() == 2 && combinations->shape(1) == count_modes,
                      "combinations are not (m, modes)");
        m = combinations->shape(0);
        require_shape(gradients->ndim() == 4 && gradients->shape(0) == frames &&
                          gradients->shape(1) == m && gradients->shape(2) == system &&
                          gradients->shape(3) == 3,
                      "gradients are not (F, m, N, 3)");
    }
    const T* x = positions.data();
    const double* box = boxes ? boxes->data() : nullptr;
    const double* weights = combinations ? combinations->data() : nullptr;
    double* value = values.data();
    double* gradient = gradients ? gradients->data() : nullptr;

    const nb::gil_scoped_release released;
    Modes::Loan work(modes);
    const std::size_t block = std::min<std::size_t>(frames, symplectic_cv::kBlock);
    std::vector<double> chosen(block * atoms * 3), slopes(block * m * atoms * 3);
    for (std::size_t start = 0; start < frames; start += block) {
        const std::size_t count = std::min(block, frames - start);
        for (std::size_t f = 0; f < count; ++f)
            for (std::size_t i = 0; i < atoms; ++i)
                for (std::size_t c = 0; c < 3; ++c)
                    chosen[(f * atoms + i) * 3 + c] =
                        double(x[((start + f) * system + places[i]) * 3 + c]);
        modes.evaluate(*work, count, chosen.data(), box ? box + 9 * start : nullptr, int(m),
                       weights, value + start * count_modes, m > 0 ? slopes.data() : nullptr);
        for (std::size_t row = 0; row < count * m; ++row) {
            double* of_system = gradient + (start * m + row) * system * 3;
            std::fill(of_system, of_system + system * 3, 0.0);
            for (std::size_t i = 0; i < atoms; ++i)
                std::copy_n(&slopes[(row * atoms + i) * 3], 3, of_system + places[i] * 3);
        }
    }
}

}  // namespace

NB_MODULE(_core, m) {
    nb::set_leak_warnings(false);  // a cache may hold modes until the interpreter is gone
    nb::exception<symplectic_cv::FormatError>(m, "FormatError", PyExc_ValueError);
    m.def("instructions", [] { return symplectic_cv::choose_kernels().name; });
    nb::class_<Modes>(m, "Modes")
        .def_prop_ro("n_atoms", &Modes::n_atoms)
        .def_prop_ro("n_modes", &Modes::n_modes)
        .def_prop_ro("atoms", &Modes::atoms)
        .def_prop_ro("sha256", &Modes::sha256)
        .def_prop_ro("instructions", &Modes::instructions)
        .def("evaluate", &evaluate<double>, nb::arg("positions").noconvert(),
             nb::arg("boxes").none(), nb::arg("combinations").none(), nb::arg("values"),
             nb::arg("gradients").none(), nb::arg("selected"))
        .def("evaluate", &evaluate<float>, nb::arg("positions").noconvert(),
             nb::arg("boxes").none(), nb::arg("combinations").none(), nb::arg("values"),
             nb::arg("gradients").none(), nb::arg("selected"));
    nb::class_<Flow, Modes>(m, "Flow")
        .def_prop_ro("dimension", &Flow::dimension)
        .def_prop_ro("n_couplings", &Flow::n_couplings)
        .def_prop_ro("n_couplings_used", &Flow::n_couplings_used);
    nb::class_<Torsions, Modes>(m, "Torsions");
    m.def(
        "read",
        [](const nb::bytes& file, std::optional<std::string> instructions) {
            return Modes::read(static_cast<const std::uint8_t*>(file.data()), file.size(),
                               instructions ? instructions->c_str() : nullptr);
        },
        nb::arg("file"), nb::arg("instructions") = nb::none());
}
