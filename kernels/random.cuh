// Philox4x32-10: J. Salmon, M. Moraes, R. Dror, D. Shaw, "Parallel random numbers: as
// easy as 1, 2, 3", SC 2011. gpugrad/kir/philox.py gives the same words.
#pragma once
#include "types.cuh"

__device__ __forceinline__ u32 high_product(u32 a, u32 b) {
  return (u32)(((u64)a * b) >> 32);
}

__device__ __forceinline__ void philox_block(u32 (&counter)[4], u32 key0, u32 key1) {
#pragma unroll
  for (int round = 0; round < 10; ++round) {
    const u32 high0 = high_product(0xD2511F53u, counter[0]);
    const u32 low0 = 0xD2511F53u * counter[0];
    const u32 high1 = high_product(0xCD9E8D57u, counter[2]);
    const u32 low1 = 0xCD9E8D57u * counter[2];
    counter[0] = high1 ^ counter[1] ^ key0;
    counter[1] = low1;
    counter[2] = high0 ^ counter[3] ^ key1;
    counter[3] = low0;
    key0 += 0x9E3779B9u;
    key1 += 0xBB67AE85u;
  }
}

// Words 4i .. 4i+3 are the block of counter (i, step); a thread makes one block.
// `out` is a multiple of 16 bytes.
__device__ __forceinline__ void philox_fill(u32* out, const i64* step, u32 key0,
                                            u32 key1, i64 count) {
  const u64 block = (u64)blockIdx.x * blockDim.x + threadIdx.x;
  const u64 first = 4 * block;
  if (first >= (u64)count) return;
  const u64 now = (u64)*step;
  u32 words[4] = {(u32)block, (u32)(block >> 32), (u32)now, (u32)(now >> 32)};
  philox_block(words, key0, key1);
  if (first + 4 <= (u64)count) {
    uint4 all;
    all.x = words[0];
    all.y = words[1];
    all.z = words[2];
    all.w = words[3];
    *reinterpret_cast<uint4*>(out + first) = all;
    return;
  }
#pragma unroll
  for (int k = 0; k < 3; ++k) {
    if (first + k < (u64)count) out[first + k] = words[k];
  }
}
