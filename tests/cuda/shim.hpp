// Enough of CUDA for generated kernels to run on the CPU, for tests.
//
// Kernels that never join threads run as a plain loop. In the others every thread of a
// block is a fiber: it stops at __syncthreads until the whole block has come there, and
// at a shuffle until its warp has. Shared memory is poisoned before each block.
#include <math.h>
#include <setjmp.h>
#include <string.h>
#include <ucontext.h>

#include <tuple>
#include <utility>
#include <vector>

#define __global__
#define __device__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __shared__ static __attribute__((section("shared_memory")))

struct alignas(8) uint2 {
  unsigned x, y;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
struct Triple {
  unsigned x, y, z;
};
static Triple threadIdx, blockIdx, blockDim, gridDim;

// Anything at all in the section, so that its ends have names.
__shared__ __attribute__((used)) unsigned char shared_memory_anchor[16];
extern "C" unsigned char __start_shared_memory[], __stop_shared_memory[];

// --- functions that CUDA has and the C library lacks ------------------------------

static inline float rsqrtf(float x) { return 1 / sqrtf(x); }
static inline double rsqrt(double x) { return 1 / sqrt(x); }
static inline double sinpi(double x) { return sin(M_PI * x); }
static inline double cospi(double x) { return cos(M_PI * x); }
static inline void sincos(float x, float* s, float* c) { sincosf(x, s, c); }

static inline double erfinv(double x) {
  if (!(fabs(x) < 1)) return fabs(x) == 1 ? copysign(INFINITY, x) : NAN;
  // A rough start, then Newton's steps on erf.
  const double w = log1p(-x * x), t = 4.3307 + w / 2;
  double y = copysign(sqrt(sqrt(t * t - w / 0.147) - t), x);
  for (int k = 0; k < 30; ++k) {
    const double error = x < 0 ? erfc(-y) - (1 + x) : (1 - x) - erfc(y);
    const double slope = 2 / sqrt(M_PI) * exp(-y * y);
    y -= (x < 0 ? error : error) / slope;
  }
  return y;
}
static inline float erfinvf(float x) { return (float)erfinv((double)x); }

// --- threads ----------------------------------------------------------------------

enum State { READY, AT_BLOCK, AT_WARP, DONE };

// A context starts a fiber; from then on jumps switch, which cost no system call.
struct Fiber {
  ucontext_t context;
  jmp_buf place;
  bool started;
  State state;
  Triple thread;
  std::vector<char> stack;
};

static std::vector<Fiber> fibers;
static std::vector<unsigned> lanes;
static jmp_buf scheduler;
static unsigned current;
static bool fibers_on;
static bool lone_join;
static void (*entry)(void*);
static void* entry_data;

static void wait_in(State state) {
  if (!fibers_on) {
    lone_join = true;
    return;
  }
  fibers[current].state = state;
  if (!_setjmp(fibers[current].place)) _longjmp(scheduler, 1);
}

static inline void __syncthreads() { wait_in(AT_BLOCK); }

static inline unsigned __shfl_xor_sync(unsigned, unsigned value, int step) {
  lanes[current] = value;
  wait_in(AT_WARP);
  const unsigned result = lanes[current / 32 * 32 + ((current % 32) ^ step)];
  wait_in(AT_WARP);
  return result;
}

static void run_fiber() {
  entry(entry_data);
  fibers[current].state = DONE;
  _longjmp(scheduler, 1);
}

static __attribute__((noinline)) void resume(Fiber& fiber) {
  if (_setjmp(scheduler)) return;
  if (fiber.started) _longjmp(fiber.place, 1);
  fiber.started = true;
  setcontext(&fiber.context);
}

// Lets those go on that have all arrived; false if nobody can.
static bool release(size_t count) {
  bool any = false;
  size_t at_block = 0, done = 0;
  for (size_t i = 0; i < count; ++i) {
    at_block += fibers[i].state == AT_BLOCK;
    done += fibers[i].state == DONE;
  }
  if (at_block && at_block == count) {
    for (size_t i = 0; i < count; ++i) fibers[i].state = READY;
    return true;
  }
  for (size_t warp = 0; warp < count; warp += 32) {
    size_t here = 0;
    const size_t end = warp + 32 < count ? warp + 32 : count;
    for (size_t i = warp; i < end; ++i) here += fibers[i].state == AT_WARP;
    if (here != end - warp) continue;
    for (size_t i = warp; i < end; ++i) fibers[i].state = READY;
    any = true;
  }
  return any || done == count;
}

static bool run_block(size_t count, bool reversed) {
  for (size_t i = 0; i < count; ++i) {
    Fiber& fiber = fibers[i];
    fiber.stack.resize(64 << 10);
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = fiber.stack.data();
    fiber.context.uc_stack.ss_size = fiber.stack.size();
    fiber.context.uc_link = nullptr;
    fiber.state = READY;
    fiber.started = false;
    makecontext(&fiber.context, run_fiber, 0);
  }
  for (;;) {
    size_t done = 0;
    for (size_t k = 0; k < count; ++k) {
      current = reversed ? count - 1 - k : k;
      if (fibers[current].state == READY) {
        threadIdx = fibers[current].thread;
        resume(fibers[current]);
      }
      done += fibers[current].state == DONE;
    }
    if (done == count) return true;
    if (!release(count)) return false;  // some wait where others never come
  }
}

// 0 if all went well, 1 if threads waited for ever, 2 if a loop kernel joined threads.
static int run_grid(const unsigned* grid, const unsigned* block, int with_fibers,
                    int reversed, void (*function)(void*), void* data) {
  entry = function, entry_data = data, fibers_on = with_fibers, lone_join = false;
  gridDim = {grid[0], grid[1], grid[2]}, blockDim = {block[0], block[1], block[2]};
  const size_t count = (size_t)block[0] * block[1] * block[2];
  if (fibers.size() < count) fibers.resize(count);
  lanes.assign((count + 31) / 32 * 32, 0);
  for (size_t i = 0; i < count; ++i) {
    fibers[i].thread = {(unsigned)(i % block[0]), (unsigned)(i / block[0] % block[1]),
                        (unsigned)(i / block[0] / block[1])};
  }
  const size_t blocks = (size_t)grid[0] * grid[1] * grid[2];
  for (size_t k = 0; k < blocks; ++k) {
    const size_t b = reversed ? blocks - 1 - k : k;
    blockIdx = {(unsigned)(b % grid[0]), (unsigned)(b / grid[0] % grid[1]),
                (unsigned)(b / grid[0] / grid[1])};
    memset(__start_shared_memory, 0xff, __stop_shared_memory - __start_shared_memory);
    if (with_fibers) {
      if (!run_block(count, reversed)) return 1;
      continue;
    }
    for (size_t i = 0; i < count; ++i) {
      threadIdx = fibers[i].thread;
      function(data);
    }
  }
  return lone_join ? 2 : 0;
}

// Parameters arrive as cuLaunchKernel takes them: an array of addresses.
template <class... A, size_t... I>
static void spread(void (*kernel)(A...), void** parameters, std::index_sequence<I...>) {
  kernel(*(A*)parameters[I]...);
}

template <class... A>
static int launch(void (*kernel)(A...), const unsigned* grid, const unsigned* block,
                  int with_fibers, int reversed, void** parameters) {
  std::tuple<void (*)(A...), void**> data(kernel, parameters);
  return run_grid(
      grid, block, with_fibers, reversed,
      [](void* raw) {
        auto& [function, values] = *(std::tuple<void (*)(A...), void**>*)raw;
        spread(function, values, std::index_sequence_for<A...>());
      },
      &data);
}
