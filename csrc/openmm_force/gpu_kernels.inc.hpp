// The program that a GPU compiles for one force: OpenMM's common dialect of CUDA, HIP and OpenCL.
//
// One block of threads does all of it: gathers the modelled atoms, superposes them, runs the flow
// forwards and in reverse (or evaluates the torsions), and adds the forces. The formulas are those of csrc/core (frame.cpp,
// kernels.inc.hpp) and of bias_grid.cpp; the rotation is FOAM's closed form: F. L. Markley,
// J. Astronaut. Sci. 41, 261 (1993), with the largest root of the quartic by Newton's method.
//
// Results: the energy, and 1 where a value has not been finite since the host last set it to 0.
//
// Constants that gpu_flow.cpp defines: TORSIONS (their number, 0 for a flow), ORDER and LINE of them,
// FIRST and COUNT (the modes that the energy depends on), ATOMS, DIMENSION, MODES, COLUMNS (of to_modes), ROWS (3 N,
// padded), LAYERS, STRIDE (numbers of one layer in the table), WIDEST, PARTS, TAPE, TAPE_IS_LOCAL, INTEGERS,
// INTEGERS_ARE_LOCAL, DOUBLES, DOUBLES_ARE_LOCAL,
// MODE (the mode whose value is the energy, or -1 for a bias), PERIODIC, MIXED, DIMENSIONS, WALL and
// GRID_AT of the grid, TOTAL_MASS, SINGULAR.
R"SOURCE(
#if TAPE_IS_LOCAL
#define TAPE_ARG LOCAL_ARG
#else
#define TAPE_ARG GLOBAL
#endif

#if INTEGERS_ARE_LOCAL
#define INTEGER_ARG LOCAL_ARG
#else
#define INTEGER_ARG GLOBAL
#endif

#if DOUBLES_ARE_LOCAL
#define DOUBLE_ARG LOCAL_ARG
#else
#define DOUBLE_ARG GLOBAL
#endif

#define SUM_PARTS 16

// where the numbers of a layer stand in its row of the table
#define L_SPLINE 0
#define L_KEPT 1
#define L_MOVED 2
#define L_N_KEPT 3
#define L_N_MOVED 4
#define L_HIDDEN 5
#define L_HIDDEN_PADDED 6
#define L_IN_PADDED 7
#define L_OUT 8
#define L_WIDTH 9
#define L_W1 10
#define L_B1 11
#define L_W2 12
#define L_B2 13
#define L_W3 14
#define L_B3 15
#define L_W3_BACK 16
#define L_W2_BACK 17
#define L_W1_BACK 18
#define L_NUMBERS 19
#define L_BINS 20
#define L_TAPE 21

#ifdef __OPENCL_VERSION__
#define FLOAT_BITS(x) as_int(x)
#define BITS_FLOAT(x) as_float(x)
#define DOUBLE_BITS(x) as_long(x)
#else
#define FLOAT_BITS(x) __float_as_int(x)
#define BITS_FLOAT(x) __int_as_float(x)
#define DOUBLE_BITS(x) __double_as_longlong(x)
#endif

// by the bits: compilers may assume that nothing is NaN
DEVICE int scvFinite(double x) {
    return (DOUBLE_BITS(x) & 0x7ff0000000000000L) != 0x7ff0000000000000L;
}

DEVICE float scvLeast(float a, float b) { return a < b ? a : b; }
DEVICE float scvGreatest(float a, float b) { return a > b ? a : b; }
DEVICE float scvMagnitude(float x) { return x < 0.0f ? -x : x; }

// exp(x) = scale + scale * rest; the fast functions of GPUs have too few digits
DEVICE float scvSplitExp(float x, float* scale) {
    float shifted = x*1.44269504f + 12582912.0f;
    float n = shifted - 12582912.0f;
    *scale = BITS_FLOAT((int) (((unsigned int) FLOAT_BITS(shifted) << 23) + 0x3f800000u));
    float f = x - n*0.693359375f + n*2.12194440e-4f;
    float p = f*(1.0f/5040.0f) + 1.0f/720.0f;
    p = p*f + 1.0f/120.0f;
    p = p*f + 1.0f/24.0f;
    p = p*f + 1.0f/6.0f;
    p = p*f + 0.5f;
    p = p*f + 1.0f;
    return p*f;
}

DEVICE float scvExp(float x) {
    float scale;
    float rest = scvSplitExp(scvLeast(88.0f, scvGreatest(-87.0f, x)), &scale);
    return scale + scale*rest;
}

DEVICE float scvTanh(float x) {
    float scale;
    float rest = scvSplitExp(scvGreatest(-40.0f, -2.0f*scvMagnitude(x)), &scale);
    float e = scale*rest + (scale - 1.0f);
    float t = -e/(2.0f + e);
    return x < 0.0f ? -t : t;
}

DEVICE float scvSoftplus(float x) {
    float t = scvExp(-scvMagnitude(x));
    float s = t/(2.0f + t), ss = s*s;
    float p = ss*(1.0f/15.0f) + 1.0f/13.0f;
    p = p*ss + 1.0f/11.0f;
    p = p*ss + 1.0f/9.0f;
    p = p*ss + 1.0f/7.0f;
    p = p*ss + 1.0f/5.0f;
    p = p*ss + 1.0f/3.0f;
    p = p*ss + 1.0f;
    return scvGreatest(x, 0.0f) + 2.0f*s*p;
}

DEVICE float4 scvAddTimes(float4 sum, float a, float4 w) {
    sum.x += a*w.x;
    sum.y += a*w.y;
    sum.z += a*w.z;
    sum.w += a*w.w;
    return sum;
}

// Leaves in `parts` (splits, nOut) the shares of bias + a (nIn) . w (nIn, nOut), and returns the number
// of splits. nOut is a multiple of 4, and w and bias start at one; hasBias may be 0.
//
// What costs here is waiting for weights: a thread asks for four rows of four columns at once.
DEVICE int scvMultiply(int nIn, int nOut, LOCAL_ARG const float* a, GLOBAL const float* RESTRICT w, int hasBias,
                       GLOBAL const float* RESTRICT bias, LOCAL_ARG float* parts) {
    int quads = nOut/4, splits = LOCAL_SIZE/quads, enough = (nIn+3)/4;
    splits = splits > enough ? enough : splits;
    splits = splits < 1 ? 1 : splits;
    GLOBAL const float4* RESTRICT rows = (GLOBAL const float4*) w;
    GLOBAL const float4* RESTRICT start = (GLOBAL const float4*) bias;
    float4 none;
    none.x = none.y = none.z = none.w = 0.0f;
    for (int place = LOCAL_ID; place < splits*quads; place += LOCAL_SIZE) {
        int first = place/quads, o = place-first*quads;
        float4 sum = first == 0 && hasBias ? start[o] : none;
        for (int j = first; j < nIn; j += 4*splits) {
            int j1 = j+splits, j2 = j1+splits, j3 = j2+splits;
            float4 w0 = rows[j*quads+o];
            float4 w1 = j1 < nIn ? rows[j1*quads+o] : none;
            float4 w2 = j2 < nIn ? rows[j2*quads+o] : none;
            float4 w3 = j3 < nIn ? rows[j3*quads+o] : none;
            float a0 = a[j], a1 = j1 < nIn ? a[j1] : 0.0f, a2 = j2 < nIn ? a[j2] : 0.0f, a3 = j3 < nIn ? a[j3] : 0.0f;
            sum = scvAddTimes(scvAddTimes(scvAddTimes(scvAddTimes(sum, a0, w0), a1, w1), a2, w2), a3, w3);
        }
        parts[4*place] = sum.x;
        parts[4*place+1] = sum.y;
        parts[4*place+2] = sum.z;
        parts[4*place+3] = sum.w;
    }
    SYNC_THREADS;
    return splits;
}

DEVICE float scvTotal(int splits, int nOut, LOCAL_ARG const float* parts, int o) {
    float sum0 = parts[o], sum1 = 0.0f, sum2 = 0.0f, sum3 = 0.0f;
    int k = 1;
    for (; k+3 < splits; k += 4) {
        sum0 += parts[k*nOut+o];
        sum1 += parts[(k+1)*nOut+o];
        sum2 += parts[(k+2)*nOut+o];
        sum3 += parts[(k+3)*nOut+o];
    }
    for (; k < splits; k++)
        sum1 += parts[k*nOut+o];
    return (sum0+sum1) + (sum2+sum3);
}

// Positive sizes that fill [-1, 1] from unbounded numbers.
DEVICE void scvBinSizes(int n, int bins, float leastBin, LOCAL_ARG const float* raw, TAPE_ARG float* sizes) {
    float top = raw[0], sum = 0.0f;
    for (int k = 1; k < bins; k++)
        top = scvGreatest(top, raw[k*n]);
    for (int k = 0; k < bins; k++)
        sum += scvExp(raw[k*n]-top);
    float share = 2.0f*(1.0f-bins*leastBin)/sum;
    for (int k = 0; k < bins; k++)
        sizes[k*n] = 2.0f*leastBin + scvExp(raw[k*n]-top)*share;
}

// The bin that holds x: left and lower edge, width, height, slopes at both ends.
DEVICE void scvFindBin(int n, int bins, float endSlope, TAPE_ARG const float* shape, float x, float* bin) {
    TAPE_ARG const float* heights = shape + bins*n;
    TAPE_ARG const float* slopes = shape + 2*bins*n;
    float left = -1.0f, lower = -1.0f;
    bin[0] = left;
    bin[1] = lower;
    bin[2] = shape[0];
    bin[3] = heights[0];
    bin[4] = endSlope;
    bin[5] = slopes[0];
    for (int k = 1; k < bins; k++) {
        left += shape[(k-1)*n];
        lower += heights[(k-1)*n];
        if (x >= left) {
            bin[0] = left;
            bin[1] = lower;
            bin[2] = shape[k*n];
            bin[3] = heights[k*n];
            bin[4] = slopes[(k-1)*n];
            bin[5] = k+1 < bins ? slopes[k*n] : endSlope;
        }
    }
}

// Tape of a spline layer: shape (3K-1), sigmoid (K-1), argument, slope, inside, each (width).
DEVICE float scvSplineForward(int n, int bins, GLOBAL const float* numbers, int i, LOCAL_ARG const float* c,
                              TAPE_ARG float* tape, float b) {
    float leastBin = numbers[0], leastSlope = numbers[1], endSlope = numbers[2], halfWidth = numbers[3+i];
    TAPE_ARG float* shape = tape + i;
    TAPE_ARG float* sigmoid = tape + (3*bins-1)*n + i;
    TAPE_ARG float* rest = tape + (4*bins-2)*n + i;
    scvBinSizes(n, bins, leastBin, c+i, shape);
    scvBinSizes(n, bins, leastBin, c+bins*n+i, shape+bins*n);
    for (int k = 0; k < bins-1; k++) {
        float raw = c[(2*bins+k)*n+i];
        sigmoid[k*n] = 1.0f/(1.0f+scvExp(-raw));
        shape[(2*bins+k)*n] = leastSlope + scvSoftplus(raw);
    }
    float u = b/halfWidth;
    int inside = scvMagnitude(u) <= 1.0f;
    float x = scvLeast(1.0f, scvGreatest(-1.0f, u));
    float bin[6];
    scvFindBin(n, bins, endSlope, shape, x, bin);
    float s = bin[3]/bin[2], t = (x-bin[0])/bin[2], tt = t*(1.0f-t);
    float below = s + (bin[4]+bin[5]-2.0f*s)*tt;
    float y = bin[1] + bin[3]*(s*t*t+bin[4]*tt)/below;
    float ratio = s/below;
    float slope = ratio*ratio*(bin[5]*t*t+2.0f*s*tt+bin[4]*(1.0f-t)*(1.0f-t));
    rest[0] = x;
    rest[n] = inside ? slope : 1.0f;
    rest[2*n] = inside ? 1.0f : 0.0f;
    return inside ? y*halfWidth : b;
}

DEVICE void scvPullBackBinSizes(int n, int bins, float leastBin, TAPE_ARG const float* sizes, float factor,
                                LOCAL_ARG float* on) {
    float mean = 0.0f;
    for (int k = 0; k < bins; k++)
        mean += (0.5f*sizes[k*n]-leastBin)*on[k*n];
    mean /= 1.0f-bins*leastBin;
    for (int k = 0; k < bins; k++) {
        float share = 0.5f*sizes[k*n] - leastBin;
        on[k*n] = 2.0f*factor*share*(on[k*n]-mean);
    }
}

// Cotangent (3K-1, n) of the unbounded numbers at i in `on`, from p; returns p times the slope.
DEVICE float scvSplineReverse(int n, int bins, GLOBAL const float* numbers, int i, TAPE_ARG const float* tape,
                              LOCAL_ARG float* on, float p) {
    float leastBin = numbers[0], endSlope = numbers[2], halfWidth = numbers[3+i];
    TAPE_ARG const float* shape = tape + i;
    TAPE_ARG const float* sigmoid = tape + (3*bins-1)*n + i;
    TAPE_ARG const float* rest = tape + (4*bins-2)*n + i;
    float x = rest[0], slope = rest[n];
    float bin[6];
    scvFindBin(n, bins, endSlope, shape, x, bin);
    float s = bin[3]/bin[2], t = (x-bin[0])/bin[2], tt = t*(1.0f-t);
    float above = s*t*t + bin[4]*tt;
    float below = s + (bin[4]+bin[5]-2.0f*s)*tt;
    float oneOver = 1.0f/below, square = oneOver*oneOver;
    float byS = (t*t*below-above*(1.0f-2.0f*tt))*square;
    float byWidth = -slope*t - s*s*byS;
    float byHeight = above*oneOver + s*byS;
    float byD0 = bin[3]*tt*(below-above)*square;
    float byD1 = -bin[3]*tt*above*square;
    float factor = p*halfWidth*rest[2*n];
    LOCAL_ARG float* onHeights = on + bins*n;
    LOCAL_ARG float* onSlopes = on + 2*bins*n;
    float edge = -1.0f, pending = 0.0f;
    int reached = 1;
    for (int k = 0; k < bins; k++) {
        edge += shape[k*n];
        int passed = k+1 < bins && x >= edge;
        int here = reached && !passed;
        on[k*n+i] = here ? byWidth : passed ? -slope : 0.0f;
        onHeights[k*n+i] = here ? byHeight : passed ? 1.0f : 0.0f;
        if (k > 0)
            onSlopes[(k-1)*n+i] = (pending+(here ? byD0 : 0.0f))*factor*sigmoid[(k-1)*n];
        pending = here ? byD1 : 0.0f;
        reached = passed;
    }
    scvPullBackBinSizes(n, bins, leastBin, shape, factor, on+i);
    scvPullBackBinSizes(n, bins, leastBin, shape+bins*n, factor, onHeights+i);
    return p*slope;
}

DEVICE void scvCross(const double* a, const double* b, double* out) {
    out[0] = a[1]*b[2] - a[2]*b[1];
    out[1] = a[2]*b[0] - a[0]*b[2];
    out[2] = a[0]*b[1] - a[1]*b[0];
}

// R (row by row) that takes x onto r best, from s = sum m x r^T and the sum of m (x^2 + r^2).
DEVICE void scvRotation(const double* s, double twice, double* r) {
    double cof[9], b[9];
    scvCross(s+3, s+6, cof);
    scvCross(s+6, s, cof+3);
    scvCross(s, s+3, cof+6);
    double det = s[0]*cof[0] + s[1]*cof[1] + s[2]*cof[2];
    double size = 0.0, minors = 0.0;
    for (int k = 0; k < 9; k++) {
        size += s[k]*s[k];
        minors += cof[k]*cof[k];
    }
    // the largest root from above: half of the sum of squares bounds it, and so does sqrt(3) |s|
    double top = sqrt(3.0*size);
    double root = 0.5*twice < top ? 0.5*twice : top;
    for (int k = 0; k < 40; k++) {
        double part = root*root - size;
        double value = part*part - 8.0*root*det - 4.0*minors;
        double step = value/(4.0*root*part-8.0*det);
        root -= step;
        if (!(step > 1e-15*root))
            break;
    }
    double kappa = 0.5*(root*root-size), zeta = kappa*root - det;
    // R^T = [(kappa + |s|^2) s + root cof(s) - s s^T s] / zeta
    double sst[9];
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < 3; j++)
            sst[3*i+j] = s[3*i]*s[3*j] + s[3*i+1]*s[3*j+1] + s[3*i+2]*s[3*j+2];
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < 3; j++)
            b[3*j+i] = ((kappa+size)*s[3*i+j] + root*cof[3*i+j] - sst[3*i]*s[j] - sst[3*i+1]*s[3+j] -
                        sst[3*i+2]*s[6+j])/zeta;
    // one step of Newton and Schulz: orthogonal to rounding
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < 3; j++)
            sst[3*i+j] = b[i]*b[j] + b[3+i]*b[3+j] + b[6+i]*b[6+j];
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < 3; j++)
            r[3*i+j] = 1.5*b[3*i+j] - 0.5*(b[3*i]*sst[j]+b[3*i+1]*sst[3+j]+b[3*i+2]*sst[6+j]);
}

#if MODE < 0
// Adds `by` times the weights of the slope at `place` of five points, from `first` on.
DEVICE void scvAddSlope(int place, int first, double by, DOUBLE_ARG const double* at, LOCAL_ARG double* weights) {
    for (int k = 0; k < 5; k++)
        weights[first+k] += by*at[5*place+k];
}

DEVICE int scvClamp(int x, int low, int high) { return x < low ? low : x > high ? high : x; }

// The six points around s: their weights, those of the slope, and the first of them.
DEVICE int scvStencil(double s, double low, double perStep, int n, DOUBLE_ARG const double* at,
                      LOCAL_ARG double* value, LOCAL_ARG double* slope) {
    double u = (s-low)*perStep;
    int cell = scvClamp((int) u, 0, n-2);
    int first = scvClamp(cell-2, 0, n-6);
    double t = u-cell, t2 = t*t, t3 = t2*t;
    int left = cell-first;
    for (int k = 0; k < 6; k++)
        value[k] = slope[k] = 0.0;
    value[left] += 2*t3 - 3*t2 + 1;
    value[left+1] += 3*t2 - 2*t3;
    slope[left] += 6*t2 - 6*t;
    slope[left+1] += 6*t - 6*t2;
    for (int end = 0; end < 2; end++) {
        int point = left+end;
        int start = scvClamp(point-2, 0, 1);
        scvAddSlope(point-start, start, end == 0 ? t3-2*t2+t : t3-t2, at, value);
        scvAddSlope(point-start, start, end == 0 ? 3*t2-4*t+1 : 3*t2-2*t, at, slope);
    }
    for (int k = 0; k < 6; k++)
        slope[k] *= perStep;
    return first;
}
#endif

DEVICE double scvDot(const double* a, const double* b) {
    return a[0]*b[0] + a[1]*b[1] + a[2]*b[2];
}

DEVICE void scvNearestImage(const double* box, double* v) {
    for (int axis = 2; axis >= 0; axis--) {
        double count = rint(v[axis]/box[4*axis]);
        for (int c = 0; c < 3; c++)
            v[c] -= count*box[3*axis+c];
    }
}

// Adds a force in fixed point; returns 1 where it is more than that holds, or not finite.
DEVICE int scvAddForce(GLOBAL mm_ulong* forceBuffers, int place, double force) {
    int lost = !(force < 1e9 && force > -1e9);
    if (lost)
        force = 1e9;
    ATOMIC_ADD(&forceBuffers[place], (mm_ulong) ((mm_long) (force*4294967296.0)));
    return lost;
}

KERNEL void scvEvaluate(GLOBAL const real4* RESTRICT posq, GLOBAL const real4* RESTRICT posqCorrection,
        GLOBAL const int* RESTRICT slots, GLOBAL const int* RESTRICT integers, GLOBAL const float* RESTRICT weights,
        GLOBAL const double* RESTRICT doubles, GLOBAL const double* RESTRICT grid, GLOBAL float* RESTRICT tapeBuffer,
        GLOBAL mm_ulong* RESTRICT forceBuffers, GLOBAL double* RESTRICT results,
        int paddedAtoms, int includeForces,
        double ax, double ay, double az, double bx, double by, double bz, double cx, double cy, double cz) {
    LOCAL double x[3*ATOMS];
    LOCAL double sums[9*SUM_PARTS];
    LOCAL double common[12];
    LOCAL double values[COUNT];
    LOCAL int lost;
#if TORSIONS
    LOCAL double gradients[12*TORSIONS];
    LOCAL double slopes[COUNT*TORSIONS];
    LOCAL double shares[COUNT*TORSIONS];
#else
    LOCAL double y[3*ATOMS];
    LOCAL double rotation[9];
    LOCAL double eckart[9];
    LOCAL float q[COLUMNS];
    LOCAL float a[WIDEST];
    LOCAL float c[WIDEST];
    LOCAL float parts[PARTS];
#endif
#if INTEGERS_ARE_LOCAL
    LOCAL int table[INTEGERS];
#else
    GLOBAL const int* table = integers;
#endif
#if TAPE_IS_LOCAL
    LOCAL float tape[TAPE];
#else
    GLOBAL float* tape = tapeBuffer;
#endif
#if DOUBLES_ARE_LOCAL
    LOCAL double reference[DOUBLES];
#else
    GLOBAL const double* reference = doubles;
#endif
#if TORSIONS
    DOUBLE_ARG const double* constants = reference + 2*TORSIONS*ORDER*MODES;
    DOUBLE_ARG const double* axes = constants + MODES;
    INTEGER_ARG const int* lists = table + 5*TORSIONS;
#else
    DOUBLE_ARG const double* masses = reference + 3*ATOMS;
    DOUBLE_ARG const double* omega = masses + ATOMS;
    DOUBLE_ARG const double* axes = omega + MODES;
    INTEGER_ARG const int* chosen = table + LAYERS*STRIDE;
    INTEGER_ARG const int* parent = chosen + MODES;
    INTEGER_ARG const int* lists = parent + ATOMS;
    GLOBAL const float* toModes = weights;
    GLOBAL const float* origin = toModes + 3*ATOMS*COLUMNS;
    GLOBAL const float* fromModes = origin + COLUMNS;
#endif

    // the modelled atoms
    if (LOCAL_ID == 0)
        lost = 0;
#if DOUBLES_ARE_LOCAL
    for (int k = LOCAL_ID; k < DOUBLES; k += LOCAL_SIZE)
        reference[k] = doubles[k];
#endif
#if INTEGERS_ARE_LOCAL
    for (int k = LOCAL_ID; k < INTEGERS; k += LOCAL_SIZE)
        table[k] = integers[k];
#endif
    for (int k = LOCAL_ID; k < ATOMS; k += LOCAL_SIZE) {
        int slot = slots[k];
        real4 here = posq[slot];
        x[3*k] = here.x;
        x[3*k+1] = here.y;
        x[3*k+2] = here.z;
#if MIXED
        real4 more = posqCorrection[slot];
        x[3*k] += more.x;
        x[3*k+1] += more.y;
        x[3*k+2] += more.z;
#endif
    }
    SYNC_THREADS;
    for (int k = LOCAL_ID; k < 3*ATOMS; k += LOCAL_SIZE)
        if (!scvFinite(x[k]))
            lost = 1;
#if TORSIONS
    // each torsion by itself, then their sums
    for (int i = LOCAL_ID; i < TORSIONS; i += LOCAL_SIZE) {
        double f[3], g[3], h[3], na[3], nb[3], normal[3];
        int i0 = 3*table[5*i], i1 = 3*table[5*i+1], i2 = 3*table[5*i+2], i3 = 3*table[5*i+3], fold = table[5*i+4];
        for (int axis = 0; axis < 3; axis++) {
            f[axis] = x[i0+axis] - x[i1+axis];
            g[axis] = x[i1+axis] - x[i2+axis];
            h[axis] = x[i3+axis] - x[i2+axis];
        }
#if PERIODIC
        double box[9];
        box[0] = ax; box[1] = ay; box[2] = az;
        box[3] = bx; box[4] = by; box[5] = bz;
        box[6] = cx; box[7] = cy; box[8] = cz;
        scvNearestImage(box, f);
        scvNearestImage(box, g);
        scvNearestImage(box, h);
#endif
        scvCross(f, g, na);
        scvCross(h, g, nb);
        scvCross(nb, na, normal);
        double aa = scvDot(na, na), bb = scvDot(nb, nb), gg = scvDot(g, g), length = sqrt(gg);
        double least = LINE*LINE*gg;
        if (!(aa > least*scvDot(f, f) && bb > least*scvDot(h, h)))
            lost = 1;
        double along = scvDot(na, nb)*length, across = scvDot(normal, g), size = sqrt(along*along+across*across);
        double cosine = along/size, sine = across/size;
        double first = length/aa, last = length/bb;
        double byF = scvDot(f, g)/(length*aa), byH = scvDot(h, g)/(length*bb);
        for (int axis = 0; axis < 3; axis++) {
            double shift = byF*na[axis] - byH*nb[axis];
            gradients[12*i+axis] = -first*na[axis];
            gradients[12*i+3+axis] = shift + first*na[axis];
            gradients[12*i+6+axis] = -shift - last*nb[axis];
            gradients[12*i+9+axis] = last*nb[axis];
        }
        // e^{i n s}, and from it one harmonic after the other
        double stepReal = 1.0, stepImaginary = 0.0, real = 1.0, imaginary = 0.0, before;
        for (int n = 0; n < fold; n++) {
            before = stepReal;
            stepReal = before*cosine - stepImaginary*sine;
            stepImaginary = before*sine + stepImaginary*cosine;
        }
        for (int k = 0; k < COUNT; k++)
            shares[COUNT*i+k] = slopes[COUNT*i+k] = 0.0;
        for (int harmonic = 1; harmonic <= ORDER; harmonic++) {
            before = real;
            real = before*stepReal - imaginary*stepImaginary;
            imaginary = before*stepImaginary + imaginary*stepReal;
            for (int k = 0; k < COUNT; k++) {
                DOUBLE_ARG const double* pair = reference + 2*((i*ORDER+harmonic-1)*MODES+FIRST+k);
                shares[COUNT*i+k] += pair[0]*real + pair[1]*imaginary;
                slopes[COUNT*i+k] += harmonic*fold*(pair[1]*real-pair[0]*imaginary);
            }
        }
    }
    SYNC_THREADS;
    for (int k = LOCAL_ID; k < COUNT; k += LOCAL_SIZE) {
        double sum = -constants[FIRST+k];
        for (int i = 0; i < TORSIONS; i++)
            sum += shares[COUNT*i+k];
        values[k] = sum;
    }
    SYNC_THREADS;
#else
#if PERIODIC
    // each bond by itself, then their sums from the root of the tree
    for (int k = LOCAL_ID; k < ATOMS; k += LOCAL_SIZE) {
        int from = parent[k];
        if (from >= 0) {
            double dx = x[3*k]-x[3*from], dy = x[3*k+1]-x[3*from+1], dz = x[3*k+2]-x[3*from+2];
            double count = rint(dz/cz);
            dx -= count*cx;
            dy -= count*cy;
            dz -= count*cz;
            count = rint(dy/by);
            dx -= count*bx;
            dy -= count*by;
            dz -= count*bz;
            count = rint(dx/ax);
            dx -= count*ax;
            dy -= count*ay;
            dz -= count*az;
            y[3*k] = dx;
            y[3*k+1] = dy;
            y[3*k+2] = dz;
        } else
            y[3*k] = y[3*k+1] = y[3*k+2] = 0.0;
    }
    SYNC_THREADS;
    for (int place = LOCAL_ID; place < 3*ATOMS; place += LOCAL_SIZE) {
        // relative to the root, which stays where it is
        int axis = place%3;
        double sum = 0.0;
        for (int k = place/3; k >= 0; k = parent[k])
            sum += y[3*k+axis];
        x[place] = sum;
    }
    SYNC_THREADS;
#endif

    // the centre of mass
    for (int place = LOCAL_ID; place < 3*SUM_PARTS; place += LOCAL_SIZE) {
        double sum = 0.0;
        for (int k = place/3; k < ATOMS; k += SUM_PARTS)
            sum += masses[k]*x[3*k+place%3];
        sums[place] = sum;
    }
    SYNC_THREADS;
    for (int axis = LOCAL_ID; axis < 3; axis += LOCAL_SIZE) {
        double sum = 0.0;
        for (int k = 0; k < SUM_PARTS; k++)
            sum += sums[3*k+axis];
        common[axis] = sum/TOTAL_MASS;
    }
    SYNC_THREADS;
    for (int place = LOCAL_ID; place < 3*ATOMS; place += LOCAL_SIZE)
        x[place] -= common[place%3];
    SYNC_THREADS;

    // the rotation
    for (int place = LOCAL_ID; place < 9*SUM_PARTS; place += LOCAL_SIZE) {
        int entry = place%9;
        double sum = 0.0;
        for (int k = place/9; k < ATOMS; k += SUM_PARTS)
            sum += masses[k]*x[3*k+entry/3]*reference[3*k+entry%3];
        sums[place] = sum;
    }
    for (int part = LOCAL_ID; part < SUM_PARTS; part += LOCAL_SIZE) {
        double sum = 0.0;
        for (int k = part; k < ATOMS; k += SUM_PARTS)
            for (int axis = 0; axis < 3; axis++)
                sum += masses[k]*(x[3*k+axis]*x[3*k+axis]+reference[3*k+axis]*reference[3*k+axis]);
        parts[part] = (float) sum;
    }
    SYNC_THREADS;
    for (int entry = LOCAL_ID; entry < 9; entry += LOCAL_SIZE) {
        double sum = 0.0;
        for (int k = 0; k < SUM_PARTS; k++)
            sum += sums[9*k+entry];
        eckart[entry] = sum;
    }
    SYNC_THREADS;
    if (LOCAL_ID == 0) {
        double s[9], r[9], twice = 0.0;
        for (int entry = 0; entry < 9; entry++)
            s[entry] = eckart[entry];
        for (int k = 0; k < SUM_PARTS; k++)
            twice += parts[k];
        scvRotation(s, twice*1.000001, r);  // rounded to float: never below
        double outer[9];
        for (int i = 0; i < 3; i++)
            for (int j = 0; j < 3; j++)
                outer[3*i+j] = r[3*i]*s[j] + r[3*i+1]*s[3+j] + r[3*i+2]*s[6+j];
        double trace = outer[0] + outer[4] + outer[8];
        for (int k = 0; k < 9; k++) {
            rotation[k] = r[k];
            eckart[k] = (k%4 == 0 ? trace : 0.0) - outer[k];
        }
    }
    SYNC_THREADS;
    for (int k = LOCAL_ID; k < ATOMS; k += LOCAL_SIZE)
        for (int i = 0; i < 3; i++)
            y[3*k+i] = rotation[3*i]*x[3*k] + rotation[3*i+1]*x[3*k+1] + rotation[3*i+2]*x[3*k+2];
    SYNC_THREADS;

    // the coordinates; a and c hold the displacement meanwhile
    for (int place = LOCAL_ID; place < 3*ATOMS; place += LOCAL_SIZE)
        a[place] = (float) (y[place]-reference[place]);
    SYNC_THREADS;
    int splits = scvMultiply(3*ATOMS, COLUMNS, a, toModes, 1, origin, parts);
    for (int o = LOCAL_ID; o < COLUMNS; o += LOCAL_SIZE)
        q[o] = scvTotal(splits, COLUMNS, parts, o);
    SYNC_THREADS;

    // the flow forwards
    for (int layer = 0; layer < LAYERS; layer++) {
        INTEGER_ARG const int* at = table + layer*STRIDE;
        int nKept = at[L_N_KEPT], nMoved = at[L_N_MOVED], hidden = at[L_HIDDEN], wide = at[L_HIDDEN_PADDED];
        int out = at[L_OUT], width = at[L_WIDTH];
        INTEGER_ARG const int* kept = lists + at[L_KEPT];
        INTEGER_ARG const int* moved = lists + at[L_MOVED];
        TAPE_ARG float* own = tape + at[L_TAPE];
        for (int i = LOCAL_ID; i < nKept; i += LOCAL_SIZE)
            a[i] = q[kept[i]];
        SYNC_THREADS;
        splits = scvMultiply(nKept, wide, a, weights+at[L_W1], 1, weights+at[L_B1], parts);
        for (int o = LOCAL_ID; o < wide; o += LOCAL_SIZE)
            own[o] = c[o] = scvTanh(scvTotal(splits, wide, parts, o));
        SYNC_THREADS;
        splits = scvMultiply(hidden, wide, c, weights+at[L_W2], 1, weights+at[L_B2], parts);
        for (int o = LOCAL_ID; o < wide; o += LOCAL_SIZE)
            own[wide+o] = a[o] = scvTanh(scvTotal(splits, wide, parts, o));
        SYNC_THREADS;
        splits = scvMultiply(hidden, out, a, weights+at[L_W3], 1, weights+at[L_B3], parts);
        for (int o = LOCAL_ID; o < out; o += LOCAL_SIZE)
            c[o] = scvTotal(splits, out, parts, o);
        SYNC_THREADS;
        own += 2*wide;
        for (int i = LOCAL_ID; i < nMoved; i += LOCAL_SIZE) {
            int place = moved[i];
            if (at[L_SPLINE])
                q[place] = scvSplineForward(width, at[L_BINS], weights+at[L_NUMBERS], i, c, own, q[place]);
            else {
                float u = scvTanh(c[i]), grow = scvExp(weights[at[L_NUMBERS]]*u), scaled = q[place]*grow;
                own[i] = u;
                own[width+i] = grow;
                own[2*width+i] = scaled;
                q[place] = scaled + c[width+i];
            }
        }
        SYNC_THREADS;
    }

    for (int k = LOCAL_ID; k < COUNT; k += LOCAL_SIZE)
        values[k] = omega[FIRST+k]*q[chosen[FIRST+k]];
    SYNC_THREADS;
#endif

    // the energy, and its slope by each of COUNT modes in `common`
#if MODE >= 0
    if (LOCAL_ID == 0)
        common[0] = 1.0;
    SYNC_THREADS;
    double energy = values[0];
#else
    LOCAL double stencil[36];
    LOCAL int starts[3];
    DOUBLE_ARG const double* slopeWeights = axes + 3*DIMENSIONS;
    INTEGER_ARG const int* strides = lists + GRID_AT;
    if (LOCAL_ID < 3) {
        int k = LOCAL_ID - (3-DIMENSIONS);
        LOCAL_ARG double* value = stencil + 12*LOCAL_ID;
        for (int i = 0; i < 12; i++)
            value[i] = 0.0;
        value[0] = 1.0;
        starts[LOCAL_ID] = 0;
        if (k >= 0) {
            double low = axes[3*k], high = axes[3*k+1], s = values[k];
            double inside = s < low ? low : s > high ? high : s, beyond = s-inside;
            common[k] = WALL*beyond;
            common[3+k] = 0.5*WALL*beyond*beyond;
            common[6+k] = inside == s ? 1.0 : 0.0;
            if (scvFinite(s))
                starts[LOCAL_ID] = scvStencil(inside, low, axes[3*k+2], strides[3+k], slopeWeights, value, value+6);
            else
                lost = 1;
        }
    }
    SYNC_THREADS;
    int rows = DIMENSIONS == 1 ? 1 : DIMENSIONS == 2 ? 6 : 36;
    for (int row = LOCAL_ID; row < rows; row += LOCAL_SIZE) {
        int i = row/6, j = row%6;  // of the first and the second axis, which have one point where they are not there
        GLOBAL const double* at = grid + (starts[0]+i)*strides[0] + (starts[1]+j)*strides[1] + starts[2];
        double value = 0.0, slope = 0.0;
        for (int k = 0; k < 6; k++) {
            value += stencil[24+k]*at[k];
            slope += stencil[30+k]*at[k];
        }
        double both = stencil[i]*stencil[12+j];
        sums[4*row] = both*value;
        sums[4*row+1] = stencil[6+i]*stencil[12+j]*value;
        sums[4*row+2] = stencil[i]*stencil[18+j]*value;
        sums[4*row+3] = both*slope;
    }
    SYNC_THREADS;
    for (int k = LOCAL_ID; k < 4; k += LOCAL_SIZE) {
        double sum = 0.0;
        for (int row = 0; row < rows; row++)
            sum += sums[4*row+k];
        int axis = k-1 - (3-DIMENSIONS);
        if (k == 0) {
            for (int other = 0; other < DIMENSIONS; other++)
                sum += common[3+other];
            common[11] = sum;
        } else if (axis >= 0)
            common[axis] += common[6+axis]*sum;
    }
    SYNC_THREADS;
    double energy = common[11];
#endif
    if (LOCAL_ID == 0) {
        if (!scvFinite(energy))
            lost = 1;
        results[0] = energy;
    }
    if (!includeForces) {
        SYNC_THREADS;
        if (LOCAL_ID == 0 && lost)
            results[1] = 1.0;
        return;
    }

#if TORSIONS
    SYNC_THREADS;
    for (int i = LOCAL_ID; i < TORSIONS; i += LOCAL_SIZE) {
        double by = 0.0;
        for (int k = 0; k < COUNT; k++)
            by += common[k]*slopes[COUNT*i+k];
        for (int place = 0; place < 12; place++)
            if (scvAddForce(forceBuffers, slots[table[5*i+place/3]]+place%3*paddedAtoms, -by*gradients[12*i+place]))
                lost = 1;
    }
#else
    // the flow in reverse: q holds the momenta
    SYNC_THREADS;
    for (int k = LOCAL_ID; k < COLUMNS; k += LOCAL_SIZE)
        q[k] = 0.0f;
    SYNC_THREADS;
    for (int k = LOCAL_ID; k < COUNT; k += LOCAL_SIZE)
        q[chosen[FIRST+k]] = (float) (omega[FIRST+k]*common[k]);
    SYNC_THREADS;
    for (int layer = LAYERS-1; layer >= 0; layer--) {
        INTEGER_ARG const int* at = table + layer*STRIDE;
        int nKept = at[L_N_KEPT], nMoved = at[L_N_MOVED], hidden = at[L_HIDDEN], wide = at[L_HIDDEN_PADDED];
        int in = at[L_IN_PADDED], out = at[L_OUT], width = at[L_WIDTH];
        INTEGER_ARG const int* kept = lists + at[L_KEPT];
        INTEGER_ARG const int* moved = lists + at[L_MOVED];
        TAPE_ARG const float* own = tape + at[L_TAPE];
        TAPE_ARG const float* change = own + 2*wide;
        for (int k = LOCAL_ID; k < out; k += LOCAL_SIZE)
            c[k] = 0.0f;
        SYNC_THREADS;
        for (int i = LOCAL_ID; i < nMoved; i += LOCAL_SIZE) {
            int place = moved[i];
            float p = q[place];
            if (at[L_SPLINE])
                q[place] = scvSplineReverse(width, at[L_BINS], weights+at[L_NUMBERS], i, change, c, p);
            else {
                float u = change[i];
                c[i] = p*change[2*width+i]*(weights[at[L_NUMBERS]]*(1.0f-u*u));
                c[width+i] = p;
                q[place] = p*change[width+i];
            }
        }
        SYNC_THREADS;
        splits = scvMultiply(out, wide, c, weights+at[L_W3_BACK], 0, weights, parts);
        for (int o = LOCAL_ID; o < wide; o += LOCAL_SIZE) {
            float h = own[wide+o];
            a[o] = scvTotal(splits, wide, parts, o)*(1.0f-h*h);
        }
        SYNC_THREADS;
        splits = scvMultiply(hidden, wide, a, weights+at[L_W2_BACK], 0, weights, parts);
        for (int o = LOCAL_ID; o < wide; o += LOCAL_SIZE) {
            float h = own[o];
            c[o] = scvTotal(splits, wide, parts, o)*(1.0f-h*h);
        }
        SYNC_THREADS;
        splits = scvMultiply(hidden, in, c, weights+at[L_W1_BACK], 0, weights, parts);
        for (int i = LOCAL_ID; i < nKept; i += LOCAL_SIZE)
            q[kept[i]] += scvTotal(splits, in, parts, i);
        SYNC_THREADS;
    }

    // back to the atoms: x holds the gradient by y
    splits = scvMultiply(DIMENSION, ROWS, q, fromModes, 0, weights, parts);
    for (int place = LOCAL_ID; place < 3*ATOMS; place += LOCAL_SIZE)
        x[place] = scvTotal(splits, ROWS, parts, place);
    SYNC_THREADS;
    for (int place = LOCAL_ID; place < 6*SUM_PARTS; place += LOCAL_SIZE) {
        int entry = place%6, axis = entry%3, next = (axis+1)%3, last = (axis+2)%3;
        double sum = 0.0;
        for (int k = place/6; k < ATOMS; k += SUM_PARTS)
            sum += entry < 3 ? y[3*k+next]*x[3*k+last]-y[3*k+last]*x[3*k+next] : x[3*k+axis];
        sums[place] = sum;
    }
    SYNC_THREADS;
    for (int entry = LOCAL_ID; entry < 6; entry += LOCAL_SIZE) {
        double sum = 0.0;
        for (int k = 0; k < SUM_PARTS; k++)
            sum += sums[6*k+entry];
        common[6+entry] = sum;
    }
    SYNC_THREADS;
    if (LOCAL_ID == 0) {
        double sum[6], m[9], rows0[3], rows1[3], rows2[3];
        for (int k = 0; k < 6; k++)
            sum[k] = common[6+k];
        for (int k = 0; k < 9; k++)
            m[k] = eckart[k];
        scvCross(m+3, m+6, rows0);
        scvCross(m+6, m, rows1);
        scvCross(m, m+3, rows2);
        double det = m[0]*rows0[0] + m[1]*rows0[1] + m[2]*rows0[2];
        for (int k = 0; k < 3; k++) {
            common[k] = (rows0[k]*sum[0]+rows1[k]*sum[1]+rows2[k]*sum[2])/det;
            common[3+k] = sum[3+k]/TOTAL_MASS;
        }
        if (!scvFinite(det) || !(det > SINGULAR || det < -SINGULAR))
            lost = 1;
    }
    SYNC_THREADS;
    for (int k = LOCAL_ID; k < ATOMS; k += LOCAL_SIZE) {
        double mass = masses[k], body[3], turned[3], w[3], r[3];
        for (int axis = 0; axis < 3; axis++) {
            w[axis] = common[axis];
            r[axis] = reference[3*k+axis];
        }
        scvCross(w, r, turned);
        for (int axis = 0; axis < 3; axis++)
            body[axis] = x[3*k+axis] - mass*(turned[axis]+common[3+axis]);
        for (int axis = 0; axis < 3; axis++) {
            double force = -(rotation[axis]*body[0]+rotation[3+axis]*body[1]+rotation[6+axis]*body[2]);
            if (scvAddForce(forceBuffers, slots[k]+axis*paddedAtoms, force))
                lost = 1;
        }
    }
#endif
    SYNC_THREADS;
    if (LOCAL_ID == 0 && lost)
        results[1] = 1.0;
}
)SOURCE"
