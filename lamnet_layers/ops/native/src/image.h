// Feature maps, scratch memory, and the threads that share an image.
#pragma once

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <type_traits>
#include <vector>

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include "matrix.h"

// As in omp.h, which compilers without an OpenMP runtime of their own lack.
extern "C" int omp_get_thread_num() noexcept;
extern "C" int omp_get_num_threads() noexcept;

namespace lamnet {

// One image of a tensor or of working memory; columns are adjacent.
struct Map {
  float* data;
  long channel, row;

  float* at(long y) const { return data + y * row; }
  Map from(int first) const { return {data + first * channel, channel, row}; }  // channels from `first` on
};

// A tensor (batch, channels, height, width) with column stride 1.
struct Tensor {
  float* data;
  int64_t batch_stride, channel_stride, row_stride;

  Map image(long b) const { return {data + b * batch_stride, channel_stride, row_stride}; }
};

struct Shape {
  long batch, height, width;
};
static_assert(sizeof(long) == sizeof(int64_t));

// Allocates from a buffer, or measures the size of the buffer if it is null.
class Arena {
 public:
  explicit Arena(float* buffer) : begin_(buffer) {}

  float* take(long n) {
    float* result = begin_ ? begin_ + used_ : nullptr;
    used_ += round_up(n, 16);
    return result;
  }

  long used() const { return used_; }

 private:
  float* begin_;
  long used_ = 0;
};

// Maps have an odd number of channels: with a power of two, the rows of a column would share a few cache sets.
constexpr int odd(int channels) { return channels | 1; }

// Distance between the channels of a block of lines: not a power of two either.
constexpr long block_pitch(long lines, long n) { return lines * n + 16; }

struct Free {
  void operator()(float* p) const { std::free(p); }
};
using Buffer = std::unique_ptr<float, Free>;

// Asks for huge pages: page faults on fresh memory otherwise take up to a fifth of the time.
static void use_huge_pages(float* data, long n) {
#if defined(__linux__)
  constexpr uintptr_t kPage = 2 << 20;
  const uintptr_t begin = (reinterpret_cast<uintptr_t>(data) + kPage - 1) / kPage * kPage;
  const uintptr_t end = reinterpret_cast<uintptr_t>(data + n) / kPage * kPage;
  if (begin < end) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
#endif
}

static float* allocate(long n) {
  void* p = nullptr;
  if (posix_memalign(&p, 64, std::max<long>(n, 1) * sizeof(float))) std::abort();
  use_huge_pages(static_cast<float*>(p), n);
  return static_cast<float*>(p);
}

// Scratch memory of the calling thread, kept for the next call unless it is large.
class Scratch {
 public:
  explicit Scratch(long n) {
    if (n > kKept) {
      own_.reset(allocate(n));
    } else if (n > kept_size_) {
      kept_.reset();
      kept_.reset(allocate(n));
      kept_size_ = n;
    }
  }

  float* get() const { return own_ ? own_.get() : kept_.get(); }

 private:
  static constexpr long kKept = 4 << 20;
  inline static thread_local Buffer kept_;
  inline static thread_local long kept_size_ = 0;
  Buffer own_;
};

// The threads that work on one image, each on a range of rows.
struct Team {
  int rank, size;

  long begin(long height) const { return height * rank / size; }
  long end(long height) const { return height * (rank + 1) / size; }

  // Calls work(first, end) for blocks of at most `count` of this thread's rows.
  template <class Work>
  void for_each_block(long height, long count, Work work) const {
    for (long y = begin(height), next; y < end(height); y = next) {
      next = std::min(y + count, end(height));
      work(y, next);
    }
  }

  void sync() const {
    if (size > 1) {
#pragma omp barrier
    }
  }
};

// Whether all threads work on one image after another, rather than each on images of its own.
static bool work_together(long batch, int threads) {
  return batch < threads || (batch % threads && batch < 4 * threads);
}

// Calls work(team, image, thread) for each image; `bf16`: whether it has products in bfloat16.
template <class Work>
static void for_each_image(long batch, int threads, bool bf16, Work work) {
  const bool together = work_together(batch, threads);
#pragma omp parallel num_threads(threads) if (threads > 1)
  {
    const Tiles tiles(bf16);
    const int rank = omp_get_thread_num(), size = omp_get_num_threads();
    if (together)
      for (long b = 0; b < batch; b++) {
        work(Team{rank, size}, b, rank);
        Team{rank, size}.sync();
      }
    else
      for (long b = batch * rank / size; b < batch * (rank + 1) / size; b++) work(Team{0, 1}, b, rank);
  }
}

// Lines are short: calls of memcpy and memset would take longer than the copies.
INLINE void copy_line(const float* from, long n, float* to) {
  long i = 0;
  for (; i + kLanes <= n; i += kLanes) store(to + i, load(from + i));
  for (; i < n; i++) to[i] = from[i];
}

INLINE void clear_line(float* line, long n) {
  long i = 0;
  for (; i + kLanes <= n; i += kLanes) store(line + i, Vec{});
  for (; i < n; i++) line[i] = 0;
}

// Copies n pixels to a line of `size` pixels with `border` zeros before them; the rest of the line is set to 0.
INLINE void pad_line(const float* from, long n, float* line, long size, long border = 0) {
  clear_line(line, border);
  copy_line(from, n, line + border);
  clear_line(line + border + n, size - border - n);
}

// Fetches a line that is needed soon into the second-level cache: lines are too short for the processor to foresee.
INLINE void prefetch(const float* line, long n) {
  for (long i = 0; i < n; i += 16) __builtin_prefetch(line + i, 0, 2);
}

INLINE void prefetch_to_write(const float* line, long n) {
  for (long i = 0; i < n; i += 16) __builtin_prefetch(line + i, 1, 2);
}

constexpr int kChannelsAhead = 2;  // distance of the channel to fetch from the one that is copied

// Copies columns [first, last) of a row to padded lines of `size` pixels, `pitch` apart.
static void copy_row(const Map& map, int channels, long y, long first, long last, float* out, long pitch, long size,
                     long border = 0) {
  for (int c = 0; c < channels; c++) {
    const float* line = map.at(y) + c * map.channel + first;
    prefetch(line + map.row, last - first);
    pad_line(line, last - first, out + c * pitch, size, border);
  }
}

// Copies rows [begin, end) to a block of lines of n pixels. Channel by channel: rows of a channel are close in memory.
static void copy_rows(const Map& map, int channels, long begin, long end, long width, float* out, long pitch, long n) {
  for (int c = 0; c < channels; c++)
    for (long y = begin; y < end; y++) {
      const float* line = map.at(y) + c * map.channel;
      prefetch(line + kChannelsAhead * map.channel, width);
      pad_line(line, width, out + c * pitch + (y - begin) * n, n);
    }
}

static void clear_columns(float* lines, long pitch, int channels, long first, long last) {
  if (first < last)
    for (int c = 0; c < channels; c++) clear_line(lines + c * pitch + first, last - first);
}

// Writes n pixels of a line, plus those of the same place in `shortcut` if it has data.
INLINE void write_line(const float* line, int channel, long n, const Map& shortcut, const Map& out, long y, long x) {
  float* result = out.at(y) + channel * out.channel + x;
  if (!shortcut.data) return copy_line(line, n, result);
  const float* other = shortcut.at(y) + channel * shortcut.channel + x;
  long i = 0;
  for (; i + kLanes <= n; i += kLanes) store(result + i, load(line + i) + load(other + i));
  for (; i < n; i++) result[i] = line[i] + other[i];
}

static void write_row(const float* lines, long pitch, int channels, long n, const Map& shortcut, const Map& out, long y,
                      long x) {
  for (int c = 0; c < channels; c++) {
    prefetch_to_write(out.at(y + 1) + c * out.channel + x, n);
    write_line(lines + c * pitch, c, n, shortcut, out, y, x);
  }
}

// Writes rows [begin, end) from a block of lines of n pixels.
static void write_rows(const float* lines, long pitch, long n, int channels, long width, const Map& shortcut,
                       const Map& out, long begin, long end) {
  for (int c = 0; c < channels; c++)
    for (long y = begin; y < end; y++) {
      prefetch_to_write(out.at(y) + (c + kChannelsAhead) * out.channel, width);
      if (shortcut.data) prefetch(shortcut.at(y) + (c + kChannelsAhead) * shortcut.channel, width);
      write_line(lines + c * pitch + (y - begin) * n, c, width, shortcut, out, y, 0);
    }
}

// Normalizes n pixels over the channels in place; mean and inverse deviation are stored unless null.
static void normalize(float* x, long pitch, int channels, long n, float eps, float* mean_out, float* scale_out) {
  for (long p = 0; p < n; p += kLanes) {
    float* column = x + p;
    const Vec mean = sum_of(channels, [&](int c) { return load(column + c * pitch); }) / float(channels);
    const Vec squares = sum_of(channels, [&](int c) {
      const Vec d = load(column + c * pitch) - mean;
      return d * d;
    });
    Vec scale = squares / float(channels) + eps;
    for (int i = 0; i < kLanes; i++) scale[i] = 1.0f / std::sqrt(scale[i]);
    for (int c = 0; c < channels; c++) store(column + c * pitch, (load(column + c * pitch) - mean) * scale);
    if (mean_out) store(mean_out + p, mean), store(scale_out + p, scale);
  }
}

// Gradient of the input of a layer norm, given the normalized x and its gradient; in place.
static void normalize_backward(const float* x, float* grad, long pitch, int channels, long n, const float* scale) {
  for (long p = 0; p < n; p += kLanes) {
    const float *input = x + p, *gradient = grad + p;
    const Vec mean = sum_of(channels, [&](int c) { return load(gradient + c * pitch); }) / float(channels);
    const Vec products = sum_of(channels, [&](int c) { return load(gradient + c * pitch) * load(input + c * pitch); });
    const Vec product = products / float(channels);
    const Vec s = load(scale + p);
    for (int c = 0; c < channels; c++) {
      const long i = c * pitch + p;
      store(grad + i, s * (load(grad + i) - mean - load(x + i) * product));
    }
  }
}

}  // namespace lamnet
