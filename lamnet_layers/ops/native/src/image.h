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

// One image of a tensor or of working memory; the channels of a pixel are adjacent.
struct Map {
  float* data = nullptr;
  long column = 0, row = 0;

  float* at(long y, long x) const { return data + y * row + x * column; }
};

// A tensor (batch, channels, height, width) with channel stride 1.
struct Tensor {
  float* data;
  int64_t batch_stride, row_stride, column_stride;

  Map image(long b) const { return {data + b * batch_stride, column_stride, row_stride}; }
};

struct Shape {
  long batch, height, width;
};
static_assert(sizeof(long) == sizeof(int64_t));

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

// Most lines are short: calls of memcpy and memset would take longer than the copies.
INLINE void copy(const float* from, long n, float* to) {
  long i = 0;
  for (; i + kLanes <= n; i += kLanes) store(to + i, load(from + i));
  for (; i < n; i++) to[i] = from[i];
}

INLINE void clear(float* data, long n) {
  long i = 0;
  for (; i + kLanes <= n; i += kLanes) store(data + i, Vec{});
  for (; i < n; i++) data[i] = 0;
}

// n pixels of a row, with a multiple of the vector size of channels: in place, or copied to `buffer` and padded with 0.
static Pixels read_row(const Map& map, long y, long x, long n, int channels, float* buffer) {
  if (channels % kLanes == 0) return {map.at(y, x), map.column};
  const long pitch = round_up(channels);
  for (long i = 0; i < n; i++) {
    copy(map.at(y, x + i), channels, buffer + i * pitch);
    clear(buffer + i * pitch + channels, pitch - channels);
  }
  return {buffer, pitch};
}

// Memory for n pixels of a row that is written: in place or `buffer`, of which write_row then copies the channels.
static Map row_to_write(const Map& map, long y, long x, int channels, float* buffer) {
  if (channels % kLanes == 0) return {map.at(y, x), map.column, 0};
  return {buffer, round_up(channels), 0};
}

static void write_row(const Map& line, const Map& map, long y, long x, long n, int channels) {
  if (channels % kLanes == 0) return;
  for (long i = 0; i < n; i++) copy(line.at(0, i), channels, map.at(y, x + i));
}

// Adds n pixels of one line to another.
static void add_pixels(Pixels x, long n, int channels, const Map& out) {
  for (long i = 0; i < n; i++)
    for (int c = 0; c < channels; c += kLanes) add(out.at(0, i) + c, load(x.at(i) + c));
}

// Calls work with the number of vectors as a constant if it is common: loops over the channels of a pixel are short.
template <class Work>
INLINE void with_vectors(int vectors, Work work) {
  switch (vectors) {
    case 1: return work(std::integral_constant<int, 1>());
    case 2: return work(std::integral_constant<int, 2>());
    case 3: return work(std::integral_constant<int, 3>());
    case 4: return work(std::integral_constant<int, 4>());
    case 6: return work(std::integral_constant<int, 6>());
    case 8: return work(std::integral_constant<int, 8>());
    default: return work(vectors);
  }
}

// Layer norm without gain and shift. The additional channels of the input are 0, and those of the normalized input too.
class Norm {
 public:
  Norm(int channels, float eps)
      : channels_(channels), vectors_(int(round_up(channels)) / kLanes), eps_(eps), last_(broadcast(1.0f)) {
    for (int i = 0; i < kLanes; i++)
      if ((vectors_ - 1) * kLanes + i >= channels) last_[i] = 0.0f;
  }

  // Stores the mean and the inverse deviation of each pixel. Four pixels at a time, for their sums across lanes.
  void statistics(Pixels x, long n, float* out) const {
    const float scale = 1.0f / float(channels_);
    with_vectors(vectors_, [&](auto vectors) {
      for (long p = 0; p < n; p += 4) {
        const float* pixels[4];
        Vec sums[4], squares[4];
        UNROLL for (int k = 0; k < 4; k++) pixels[k] = x.at(std::min(p + k, n - 1));
        UNROLL for (int k = 0; k < 4; k++) {
          sums[k] = load(pixels[k]);
          for (int i = 1; i < vectors; i++) sums[k] += load(pixels[k] + i * kLanes);
        }
        const Quad means = sums_of_lanes(sums) * scale;
        UNROLL for (int k = 0; k < 4; k++) {
          Vec d = (load(pixels[k] + (vectors - 1) * kLanes) - means[k]) * last_;
          squares[k] = d * d;
          for (int i = 0; i < vectors - 1; i++) {
            d = load(pixels[k] + i * kLanes) - means[k];
            squares[k] += d * d;
          }
        }
        const Quad variances = sums_of_lanes(squares) * scale + eps_;
        for (int k = 0; k < 4 && p + k < n; k++)
          out[2 * (p + k)] = means[k], out[2 * (p + k) + 1] = 1.0f / std::sqrt(variances[k]);
      }
    });
  }

  // Normalizes n pixels to `out`, which may be x.
  Pixels normalize(Pixels x, const float* statistics, long n, float* out) const {
    const long pitch = long(vectors_) * kLanes;
    with_vectors(vectors_, [&](auto vectors) {
      for (long p = 0; p < n; p++) {
        const Vec mean = broadcast(statistics[2 * p]), scale = broadcast(statistics[2 * p + 1]);
        for (int i = 0; i < vectors; i++) {
          const Vec value = (load(x.at(p) + i * kLanes) - mean) * scale;
          store(out + p * pitch + i * kLanes, i == vectors - 1 ? value * last_ : value);
        }
      }
    });
    return {out, pitch};
  }

  // Gradient of the input, given the normalized input and its gradient, whose additional channels are 0; in place.
  void backward(Pixels normalized, const float* statistics, long n, const Map& grad) const {
    with_vectors(vectors_, [&](auto vectors) {
      for (long p = 0; p < n; p++) {
        const float* x = normalized.at(p);
        float* g = grad.at(0, p);
        Vec sum = {}, products = {};
        for (int i = 0; i < vectors; i++) {
          const Vec v = load(g + i * kLanes);
          sum += v;
          products += v * load(x + i * kLanes);
        }
        const Vec mean = broadcast(sum_lanes(sum) / float(channels_));
        const Vec product = broadcast(sum_lanes(products) / float(channels_));
        const Vec scale = broadcast(statistics[2 * p + 1]);
        for (int i = 0; i < vectors; i++)
          store(g + i * kLanes, scale * (load(g + i * kLanes) - mean - load(x + i * kLanes) * product));
      }
    });
  }

 private:
  int channels_, vectors_;
  float eps_;
  Vec last_;  // 1 for existing channels of the last vector
};

}  // namespace lamnet
