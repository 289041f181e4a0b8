// Standard normal numbers by counter, any eight of them by themselves. They are those of
// tfs_rt.sampling.noise.gaussian(key, draw, shape).
//
//   words = Philox4x64-10(counter = (block + 1, draw, 0, 0), key)    Salmon et al., SC 2011; + 1 as in NumPy
//   u1 = (low 32 bits + 1/2) / 2^32,  u2 = (high 32 bits + 1/2) / 2^32
//   z_2k = sqrt(-2 ln u1) cos(2 pi u2),  z_2k+1 = sqrt(-2 ln u1) sin(2 pi u2)    Box-Muller, in float64
//
// sincospi, not sincos: 2 pi u2 is not rounded first, and there is no range reduction, which would need a stack.

#pragma once

struct PhiloxWords {
    unsigned long long word[4];
};

__device__ inline PhiloxWords philox4x64_10(PhiloxWords counter, unsigned long long key_0, unsigned long long key_1) {
    const unsigned long long multiplier_0 = 0xD2E7470EE14C6C93ull, multiplier_1 = 0xCA5A826395121157ull;
#pragma unroll
    for (int round = 0; round < 10; ++round) {
        const unsigned long long* c = counter.word;
        counter = {{__umul64hi(multiplier_1, c[2]) ^ c[1] ^ key_0, multiplier_1 * c[2],
                    __umul64hi(multiplier_0, c[0]) ^ c[3] ^ key_1, multiplier_0 * c[0]}};
        key_0 += 0x9E3779B97F4A7C15ull;
        key_1 += 0xBB67AE8584CAA73Bull;
    }
    return counter;
}

// Elements 8 block to 8 block + 7 of a draw; key is (low, high).
__device__ inline void gaussian8(const unsigned long long* key, int draw, int block, float z[8]) {
    const PhiloxWords counter = {{block + 1ull, (unsigned long long)draw, 0, 0}};
    const PhiloxWords words = philox4x64_10(counter, key[0], key[1]);
#pragma unroll
    for (int k = 0; k < 4; ++k) {
        const double u1 = ((unsigned)words.word[k] + 0.5) * 0x1p-32;
        const double u2 = ((unsigned)(words.word[k] >> 32) + 0.5) * 0x1p-32;
        const double radius = sqrt(-2.0 * log(u1));
        double sine, cosine;
        sincospi(2.0 * u2, &sine, &cosine);
        z[2 * k] = (float)(radius * cosine);
        z[2 * k + 1] = (float)(radius * sine);
    }
}
