// Runs CUDA grids on the CPU: the blocks one after another, the threads of a block as fibers between which this file
// switches when one has to wait. Compiled without sanitizers, which the switching would confuse; kernels have them.
#include <link.h>
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <deque>
#include <map>
#include <numeric>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "include/cuda_runtime.h"

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;

constexpr size_t kMostDynamicShared = 48 << 10;  // what a GPU gives without being asked for more
alignas(16) thread_local unsigned char dynamic_shared[kMostDynamicShared];

namespace cuda_on_cpu {
namespace {

[[noreturn]] void fail(const std::string& message) {
  std::fprintf(stderr, "cuda_on_cpu: block (%u, %u, %u): %s\n", blockIdx.x, blockIdx.y, blockIdx.z, message.c_str());
  std::fflush(stderr);
  _exit(1);
}

// ---- The threads of a block ----

/// Where threads meet: the function and the place that it is called from.
struct Meeting {
  const char* name;
  Place place;

  bool operator==(const Meeting& other) const {
    return place.line() == other.place.line() && place.column() == other.place.column() &&
           std::string_view(place.file_name()) == other.place.file_name();
  }
  std::string text() const {
    return std::string(name) + " at " + place.file_name() + ":" + std::to_string(place.line());
  }
};

struct Thread {
  uint3 index;
  enum { kReady, kInBlock, kInLanes, kReturned } state;  // the two in the middle: where it waits
  // What it waits with, and what it then gets.
  Meeting meeting;
  unsigned mask;
  uint64_t value;
  int source;
  uint64_t result;
};

constexpr int kMostThreads = 1024, kMostWarps = kMostThreads / warpSize;  // of a block
Thread threads[kMostThreads];
int block_size, warps;
std::deque<int> ready[kMostWarps];  // the numbers of each warp's threads that can run
int order_of_warps[kMostWarps];     // the first that has a thread ready is the one to run
int running;                        // a thread's number
const std::function<void()>* body;  // what each of them does

// What cuda_on_cpu_set chooses.
std::mt19937 random_numbers;
bool shuffled = false;
unsigned char poison = 0xff;

int64_t launches = 0;  // since cuda_on_cpu_set

// ---- Fibers ----

/// Where a fiber, or the scheduler, goes on. The compiler's own setjmp saves three words and makes no system call.
struct Context {
  void* words[5];
};

[[noreturn, gnu::noipa]] void jump(Context& to) {
  __builtin_longjmp(to.words, 1);
}
[[gnu::noipa]] void save_and_jump(Context& from, Context& to) {
  if (__builtin_setjmp(from.words) == 0) jump(to);
}
[[gnu::noipa]] void save_and_start(Context& from, ucontext_t& fresh) {
  if (__builtin_setjmp(from.words) == 0) setcontext(&fresh);
}

constexpr size_t kStack = 128 << 10, kGuard = 4 << 10;

/// Runs the threads of its number, one in each block.
struct Fiber {
  char* stack = nullptr;
  bool started = false;
  ucontext_t fresh;
  Context context;
};
Fiber fibers[kMostThreads];
Context scheduler;  // which runs on the stack of whoever launches
const void* scheduler_stack;
size_t scheduler_stack_size;

// AddressSanitizer is told of each switch, before it and after: it must know whose stack it is on.

/// Back to the scheduler until it resumes the running thread.
void suspend() {
  void* fake_stack;
  __sanitizer_start_switch_fiber(&fake_stack, scheduler_stack, scheduler_stack_size);
  save_and_jump(fibers[running].context, scheduler);
  __sanitizer_finish_switch_fiber(fake_stack, &scheduler_stack, &scheduler_stack_size);
}

void run_fiber() {
  __sanitizer_finish_switch_fiber(nullptr, &scheduler_stack, &scheduler_stack_size);
  for (;;) {
    (*body)();
    threads[running].state = Thread::kReturned;
    suspend();
  }
}

void make_fiber(Fiber& fiber) {
  void* memory = mmap(nullptr, kGuard + kStack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED || mprotect(memory, kGuard, PROT_NONE) != 0) fail("no memory for a thread's stack");
  fiber.stack = static_cast<char*>(memory) + kGuard;  // stacks grow down, into the guard
  getcontext(&fiber.fresh);
  fiber.fresh.uc_stack.ss_sp = fiber.stack;
  fiber.fresh.uc_stack.ss_size = kStack;
  makecontext(&fiber.fresh, run_fiber, 0);
}

void resume(int number) {
  running = number;
  Fiber& fiber = fibers[number];
  if (fiber.stack == nullptr) make_fiber(fiber);
  threadIdx = threads[number].index;
  void* fake_stack;
  __sanitizer_start_switch_fiber(&fake_stack, fiber.stack, kStack);
  if (fiber.started) {
    save_and_jump(scheduler, fiber.context);
  } else {
    fiber.started = true;
    save_and_start(scheduler, fiber.fresh);
  }
  __sanitizer_finish_switch_fiber(fake_stack, nullptr, nullptr);
}

// ---- Meetings ----

void make_ready(int number) {
  threads[number].state = Thread::kReady;
  ready[number / warpSize].push_back(number);
}

/// If all lanes of its mask have come to where thread `number` waits: gives each its result and makes it ready.
void try_to_end_meeting(int number) {
  const Thread& last = threads[number];
  const unsigned mask = last.mask;
  Thread* const warp = threads + number / warpSize * warpSize;
  uint64_t ballot = 0;
  for (int lane = 0; lane < warpSize; ++lane) {
    if ((mask >> lane & 1u) == 0) continue;
    if (warp[lane].state != Thread::kInLanes || warp[lane].mask != mask) return;
    ballot |= uint64_t(warp[lane].value != 0) << lane;
  }
  for (int lane = 0; lane < warpSize; ++lane)
    if ((mask >> lane & 1u) != 0 && !(warp[lane].meeting == last.meeting)) return;
  for (int lane = 0; lane < warpSize; ++lane) {
    if ((mask >> lane & 1u) == 0) continue;
    const int source = warp[lane].source;
    warp[lane].result = source == kBallot ? ballot : warp[source].value;
    make_ready(static_cast<int>(warp - threads) + lane);
  }
}

/// A line for each place: how many threads are there, and which.
std::string where_threads_are() {
  std::map<std::string, std::vector<int>> groups;
  for (int i = 0; i < block_size; ++i) {
    const Thread& thread = threads[i];
    char mask[32];
    std::snprintf(mask, sizeof mask, " with mask %#010x", thread.mask);
    groups[thread.state == Thread::kReturned  ? "returned"
           : thread.state == Thread::kInLanes ? "wait in " + thread.meeting.text() + mask
                                              : "wait in " + thread.meeting.text()]
        .push_back(i);
  }
  std::string text;
  for (const auto& [what, numbers] : groups) {
    text += "\n  " + std::to_string(numbers.size()) + " threads " + what + ": ";
    for (size_t i = 0; i < numbers.size(); ++i) {
      const bool follows = i > 0 && numbers[i] == numbers[i - 1] + 1;
      const bool is_followed = i + 1 < numbers.size() && numbers[i + 1] == numbers[i] + 1;
      if (follows && is_followed) continue;
      text += (i == 0 ? "" : follows ? "–" : ", ") + std::to_string(numbers[i]);
    }
  }
  return text;
}

/// When no thread can run: lets them go on if all that have not returned are at the same barrier of the block. False if
/// all have returned.
bool end_block_meeting() {
  const Thread* first = nullptr;
  int count = 0;
  for (int i = 0; i < block_size; ++i) {
    const Thread& thread = threads[i];
    if (thread.state == Thread::kReturned) continue;
    if (first == nullptr) first = &thread;
    if (thread.state != Thread::kInBlock || !(thread.meeting == first->meeting))
      fail("threads wait for others that do not come:" + where_threads_are());
    count += thread.value != 0;
  }
  for (int i = 0; i < block_size; ++i)
    if (threads[i].state == Thread::kInBlock) {
      threads[i].result = count;
      make_ready(i);
    }
  return first != nullptr;
}

// ---- Shared memory ----

/// Overwrites all variables that are __shared__: the thread-local segment of this library.
void poison_shared(size_t dynamic_bytes) {
  static const auto find = [](dl_phdr_info* info, size_t, void* found) {
    const auto here = reinterpret_cast<ElfW(Addr)>(&run_grid);
    bool ours = false;
    const ElfW(Phdr)* tls = nullptr;
    for (int i = 0; i < info->dlpi_phnum; ++i) {
      const auto& header = info->dlpi_phdr[i];
      const ElfW(Addr) begin = info->dlpi_addr + header.p_vaddr;
      if (header.p_type == PT_LOAD) ours |= here >= begin && here < begin + header.p_memsz;
      if (header.p_type == PT_TLS) tls = &header;
    }
    if (!ours) return 0;
    *static_cast<std::pair<void*, size_t>*>(found) = {info->dlpi_tls_data, tls->p_memsz};
    return 1;
  };
  __asan_unpoison_memory_region(dynamic_shared, kMostDynamicShared);  // also makes the segment exist
  dynamic_shared[0] = poison;
  static const std::pair<void*, size_t> segment = [] {
    std::pair<void*, size_t> found;
    dl_iterate_phdr(find, &found);
    return found;
  }();
  std::memset(segment.first, poison, segment.second);
  __asan_poison_memory_region(dynamic_shared + dynamic_bytes, kMostDynamicShared - dynamic_bytes);
}

// ---- Grids ----

/// Removes a thread that can run and returns its number; -1 if there is none. In order, a warp runs as far as it can,
/// then the next; shuffled, another warp's turn comes in between now and then.
int take_ready() {
  const int first = shuffled && random_numbers() % 8 == 0 ? random_numbers() % warps : 0;
  for (int i = 0; i < warps; ++i) {
    auto& lanes = ready[order_of_warps[(first + i) % warps]];
    if (lanes.empty()) continue;
    if (shuffled) std::swap(lanes.front(), lanes[random_numbers() % lanes.size()]);
    const int next = lanes.front();
    lanes.pop_front();
    return next;
  }
  return -1;
}

/// Runs threads until none can.
void run_ready() {
  std::iota(order_of_warps, order_of_warps + warps, 0);
  if (shuffled) std::shuffle(order_of_warps, order_of_warps + warps, random_numbers);
  for (int next = take_ready(); next >= 0; next = take_ready()) resume(next);
}

void run_block() {
  for (int i = 0; i < block_size; ++i) {
    const unsigned n = i;
    threads[i].index = {n % blockDim.x, n / blockDim.x % blockDim.y, n / blockDim.x / blockDim.y};
    make_ready(i);
  }
  do run_ready();
  while (end_block_meeting());
}

}  // namespace

cudaError_t run_grid(const cudaLaunchConfig_t& config, const std::function<void()>& thread) {
  const dim3 grid = config.gridDim, block = config.blockDim;
  const uint64_t size = uint64_t(block.x) * block.y * block.z;
  if (size == 0 || size > kMostThreads || block.z > 64 || grid.x == 0 || grid.y == 0 || grid.z == 0 ||
      grid.x > 0x7fffffffu || grid.y > 65535 || grid.z > 65535 || config.dynamicSmemBytes > kMostDynamicShared)
    return cudaErrorInvalidConfiguration;
  ++launches;
  gridDim = grid;
  blockDim = block;
  block_size = static_cast<int>(size);
  warps = (block_size + warpSize - 1) / warpSize;
  body = &thread;

  std::vector<uint64_t> blocks(uint64_t(grid.x) * grid.y * grid.z);
  std::iota(blocks.begin(), blocks.end(), 0);
  if (shuffled) std::shuffle(blocks.begin(), blocks.end(), random_numbers);
  for (const uint64_t n : blocks) {
    blockIdx = {unsigned(n % grid.x), unsigned(n / grid.x % grid.y), unsigned(n / grid.x / grid.y)};
    poison_shared(config.dynamicSmemBytes);
    run_block();
  }
  return cudaSuccess;
}

int meet_block(const char* name, bool predicate, const Place& place) {
  Thread& thread = threads[running];
  thread.state = Thread::kInBlock;
  thread.meeting = {name, place};
  thread.value = predicate;
  suspend();
  return static_cast<int>(thread.result);
}

uint64_t meet_lanes(const char* name, unsigned mask, uint64_t value, int source, const Place& place) {
  const int number = running, first = number / warpSize * warpSize;
  Thread& thread = threads[number];
  thread.meeting = {name, place};
  const auto refuse = [&](const std::string& why) {
    char bits[16];
    std::snprintf(bits, sizeof bits, "%#010x", mask);
    fail(thread.meeting.text() + ": thread " + std::to_string(number) + " with mask " + bits + why);
  };
  if ((mask >> (number - first) & 1u) == 0) refuse(" is not in the mask itself");
  if (block_size - first < warpSize && mask >> (block_size - first) != 0) refuse(" names lanes beyond the block");
  if (source != kBallot && (mask >> source & 1u) == 0)
    refuse(" reads lane " + std::to_string(source) + ", which is not in the mask");
  thread.state = Thread::kInLanes;
  thread.mask = mask;
  thread.value = value;
  thread.source = source;
  try_to_end_meeting(number);
  suspend();
  return thread.result;
}

void sleep_for_ever(const Place& place) {
  fail(Meeting{"__nanosleep", place}.text() +
       ": a thread sleeps until another block has done something, but all that came before it are done");
}

extern "C" {

/// How launches run from now on. seed 0: threads and blocks in order; else shuffled by it. What is not written yet,
/// shared memory and what `Scratch` (glue.h) allocates, has `unwritten` in every byte.
void cuda_on_cpu_set(uint64_t seed, uint64_t unwritten) {
  shuffled = seed != 0;
  random_numbers.seed(static_cast<unsigned>(seed));
  poison = static_cast<unsigned char>(unwritten);
  launches = 0;
}

int64_t cuda_on_cpu_launches() {
  return launches;
}

unsigned char cuda_on_cpu_unwritten() {
  return poison;
}
}

}  // namespace cuda_on_cpu
