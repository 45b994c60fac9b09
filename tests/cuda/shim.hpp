// Enough of CUDA for generated kernels to run on the CPU, for tests.
//
// Kernels that never join threads run as a plain loop. In the others every thread of a
// block is a fiber: it stops at __syncthreads until the whole block has come there, and
// at a shuffle until its warp has. Shared memory is poisoned before each block. Blocks
// and threads run forwards, backwards or shuffled. An access to memory that may not be
// touched ends the launch, and is reported with its block and thread.
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <string.h>
#include <ucontext.h>

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

template <class T>
static inline T atomicAdd(T* to, T x) {
  const T before = *to;
  *to = before + x;
  return before;
}

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

// A context starts a fiber; from then on jumps switch, which cost no system call. It
// lives on from block to block and from launch to launch.
struct Fiber {
  ucontext_t context;
  jmp_buf place;
  bool started;
  State state;
  Triple thread;
  char* stack;
};

static const size_t STACK = 64 << 10;
static Fiber fibers[1024];
static unsigned lanes[1024];
static jmp_buf scheduler;
static unsigned current;
static bool fibers_on;
static bool lone_join;
static void (*entry)(void*);
static void* entry_data;

// Lets the scheduler go on; comes back when this fiber is to.
static void leave(State state) {
  fibers[current].state = state;
  if (!_setjmp(fibers[current].place)) _longjmp(scheduler, 1);
}

static void wait_in(State state) {
  if (fibers_on) {
    leave(state);
  } else {
    lone_join = true;
  }
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
  for (;;) {
    entry(entry_data);
    leave(DONE);
  }
}

static __attribute__((noinline)) void resume(Fiber& fiber) {
  if (_setjmp(scheduler)) return;
  if (fiber.started) _longjmp(fiber.place, 1);
  fiber.started = true;
  if (!fiber.stack) fiber.stack = new char[STACK];
  getcontext(&fiber.context);
  fiber.context.uc_stack.ss_sp = fiber.stack;
  fiber.context.uc_stack.ss_size = STACK;
  fiber.context.uc_link = nullptr;
  makecontext(&fiber.context, run_fiber, 0);
  setcontext(&fiber.context);
}

// Lets those go on that have all arrived; false if nobody can.
static bool release(size_t count) {
  bool any = false;
  size_t at_block = 0;
  for (size_t i = 0; i < count; ++i) at_block += fibers[i].state == AT_BLOCK;
  if (at_block == count) {
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
  return any;
}

static bool run_block(const unsigned* turns, size_t count) {
  for (size_t i = 0; i < count; ++i) fibers[i].state = READY;
  for (;;) {
    size_t done = 0;
    for (size_t k = 0; k < count; ++k) {
      const unsigned i = current = turns[k];
      if (fibers[i].state == READY) {
        threadIdx = fibers[i].thread;
        resume(fibers[i]);
      }
      done += fibers[i].state == DONE;
    }
    if (done == count) return true;
    if (!release(count)) return false;  // some wait where others never come
  }
}

// --- accesses that are wrong ------------------------------------------------------

// Where the first one was. Plain numbers, for the caller to read.
struct Fault {
  unsigned long long address;
  Triple block, thread;
  int writes;
};
extern "C" Fault fault;
Fault fault;
static jmp_buf faulted;

static void on_fault(int, siginfo_t* info, void* raw) {
  fault = {(unsigned long long)info->si_addr, blockIdx, threadIdx, 0};
#ifdef __x86_64__
  fault.writes = (((ucontext_t*)raw)->uc_mcontext.gregs[REG_ERR] & 2) != 0;
#endif
  _longjmp(faulted, 1);
}

// While it lives, wrong accesses go to on_fault.
struct Watch {
  struct sigaction segv, bus;
  Watch() {
    struct sigaction action = {};
    action.sa_sigaction = on_fault;
    action.sa_flags = SA_SIGINFO | SA_NODEFER;
    sigaction(SIGSEGV, &action, &segv);
    sigaction(SIGBUS, &action, &bus);
  }
  ~Watch() {
    sigaction(SIGSEGV, &segv, nullptr);
    sigaction(SIGBUS, &bus, nullptr);
  }
};

// --- launches ---------------------------------------------------------------------

enum Outcome { FINE, WAITED_FOR_EVER, LONE_JOIN, FAULTED };

// 0 is forwards, 1 backwards, anything else the seed of a shuffle.
static void put_in_order(unsigned* turns, unsigned count, unsigned order) {
  for (unsigned i = 0; i < count; ++i) turns[i] = order == 1 ? count - 1 - i : i;
  unsigned long long random = order;
  for (unsigned i = count; order > 1 && i > 1; --i) {
    random = random * 6364136223846793005ull + 1442695040888963407ull;
    const unsigned j = (unsigned)(random >> 33) % i, other = turns[j];
    turns[j] = turns[i - 1], turns[i - 1] = other;
  }
}

static Outcome run_blocks(const unsigned* grid, size_t count, const unsigned* blocks,
                          const unsigned* threads) {
  for (size_t k = 0; k < (size_t)grid[0] * grid[1] * grid[2]; ++k) {
    const unsigned b = blocks[k];
    blockIdx = {b % grid[0], b / grid[0] % grid[1], b / grid[0] / grid[1]};
    memset(__start_shared_memory, 0xff, __stop_shared_memory - __start_shared_memory);
    if (fibers_on) {
      if (!run_block(threads, count)) return WAITED_FOR_EVER;
      continue;
    }
    for (size_t i = 0; i < count; ++i) {
      threadIdx = fibers[threads[i]].thread;
      entry(entry_data);
    }
  }
  return lone_join ? LONE_JOIN : FINE;
}

static int run_grid(const unsigned* grid, const unsigned* block, int with_fibers,
                    unsigned order, void (*function)(void*), void* data) {
  entry = function, entry_data = data, fibers_on = with_fibers, lone_join = false;
  gridDim = {grid[0], grid[1], grid[2]}, blockDim = {block[0], block[1], block[2]};
  const size_t count = (size_t)block[0] * block[1] * block[2];
  for (unsigned i = 0; i < count; ++i) {
    fibers[i].thread = {i % block[0], i / block[0] % block[1], i / block[0] / block[1]};
  }
  const Watch watch;
  const size_t many = (size_t)grid[0] * grid[1] * grid[2];
  unsigned* const blocks = new unsigned[many];
  unsigned threads[1024];
  put_in_order(blocks, many, order), put_in_order(threads, count, order);
  volatile Outcome outcome = FAULTED;
  if (!_setjmp(faulted)) outcome = run_blocks(grid, count, blocks, threads);
  delete[] blocks;
  // Fibers that stopped half way start anew.
  if (outcome != FINE) {
    for (Fiber& fiber : fibers) fiber.started = false;
  }
  return outcome;
}

// Parameters arrive as cuLaunchKernel takes them: an array of addresses.
template <size_t... I>
struct Places {};
template <size_t N, size_t... I>
struct Counted : Counted<N - 1, N - 1, I...> {};
template <size_t... I>
struct Counted<0, I...> {
  typedef Places<I...> type;
};

template <class... A>
struct Bound {
  void (*kernel)(A...);
  void** parameters;
  template <size_t... I>
  void call(Places<I...>) {
    kernel(*(A*)parameters[I]...);
  }
  static void run(void* raw) {
    ((Bound*)raw)->call(typename Counted<sizeof...(A)>::type());
  }
};

template <class... A>
static int launch(void (*kernel)(A...), const unsigned* grid, const unsigned* block,
                  int with_fibers, unsigned order, void** parameters) {
  Bound<A...> bound = {kernel, parameters};
  return run_grid(grid, block, with_fibers, order, Bound<A...>::run, &bound);
}
