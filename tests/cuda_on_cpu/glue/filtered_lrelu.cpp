#include "../../../csrc/filtered_lrelu.h"

#include <utility>

#include "glue.h"

using namespace gan_ops;

extern "C" {

/// A pass, forward or transposed; `filters` are 1 where separable. tiles: what tiles_on_cuda() says, for the sums'
/// size.
void filtered_lrelu(Dtype dtype, const void* x, const void* bias, const void* up_filter, const void* down_filter,
                    void* codes_written, const void* codes_read, void* y, void* sums, int64_t samples, int64_t channels,
                    int64_t height, int64_t width, int64_t up_rows, int64_t up_columns, int64_t up_separable,
                    int64_t down_rows, int64_t down_columns, int64_t down_separable, int64_t up, int64_t down,
                    int64_t x0, int64_t x1, int64_t y0, int64_t y1, int64_t channels_last, int64_t flip,
                    int64_t transposed, double gain, double slope, double limit) {
  FilteredLreluArgs args{};
  args.x = x;
  args.bias = bias;
  args.y = y;
  args.codes = static_cast<uint8_t*>(codes_written != nullptr ? codes_written : const_cast<void*>(codes_read));
  args.use = codes_written != nullptr ? Codes::written : codes_read != nullptr ? Codes::read : Codes::none;
  args.rows = resampled_axis(height, up, down, up_rows, down_rows, y0, y1);
  args.columns = resampled_axis(width, up, down, up_columns, down_columns, x0, x1);
  const bool reversed = (flip == 0) != (transposed != 0);
  const double up_gain = static_cast<double>(up);
  args.filter1 = {up_filter, up_separable != 0, reversed, up_separable != 0 ? up_gain : up_gain * up_gain};
  args.filter2 = {down_filter, down_separable != 0, reversed, 1};
  if (transposed != 0) {
    args.rows = args.rows.transposed();
    args.columns = args.columns.transposed();
    std::swap(args.filter1, args.filter2);
  }
  args.samples = samples;
  args.channels = channels;
  args.channels_last = channels_last != 0;
  args.gain = gain;
  args.slope = slope;
  args.limit = limit;
  args.tiles = tiles_on_cuda(args, dtype);
  const int64_t planes = samples * channels, tiles = args.tiles.count();
  const bool wide = dtype == Dtype::float64;
  const Scratch partial(dtype, sums == nullptr ? 1 : tiles * planes);
  args.sums = sums == nullptr ? nullptr : partial.get();
  run_on_cuda(args, dtype, nullptr);
  if (sums == nullptr) return;
  for (int64_t c = 0; c < channels; ++c) {  // as torch adds them up
    double total = 0;
    for (int64_t tile = 0; tile < tiles; ++tile)
      for (int64_t n = 0; n < samples; ++n) {
        const int64_t i = tile * planes + n * channels + c;
        total += wide ? static_cast<const double*>(partial.get())[i] : static_cast<const float*>(partial.get())[i];
      }
    if (wide)
      static_cast<double*>(sums)[c] = total;
    else
      static_cast<float*>(sums)[c] = static_cast<float>(total);
  }
}
}
