// Periodic boxes: nine numbers, row by row, in OpenMM's reduced form.
#pragma once

#include <cmath>

namespace symplectic_cv {

/// Moves a vector (3,) to its nearest image.
inline void to_nearest_image(const double* box, double* vector) {
    for (int axis = 2; axis >= 0; --axis) {
        const double count = std::nearbyint(vector[axis] / box[3 * axis + axis]);
        for (int c = 0; c < 3; ++c) vector[c] -= count * box[3 * axis + c];
    }
}

}  // namespace symplectic_cv
