#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

/// What the fuzzers have in common. libFuzzer calls LLVMFuzzerTestOneInput() (llvm.org/docs/LibFuzzer.html).
namespace dualdeploy::fuzz {

/// Ends the program as a sanitizer does, so that libFuzzer keeps the input.
inline void require(bool holds, std::string_view what, std::string_view of = {}) {
  if (holds) return;
  std::fprintf(stderr, "DOES NOT HOLD: %.*s: %.*s\n", static_cast<int>(what.size()), what.data(), static_cast<int>(of.size()), of.data());
  std::abort();
}

inline std::string_view as_text(const std::uint8_t* data, std::size_t size) {
  return size == 0 ? std::string_view() : std::string_view(reinterpret_cast<const char*>(data), size);
}

/// Takes the text up to the next `end`, which goes too.
inline std::string_view take_until(std::string_view& text, std::string_view end) {
  const std::size_t at = text.find(end);
  const std::string_view part = text.substr(0, at);
  text = at == std::string_view::npos ? std::string_view() : text.substr(at + end.size());
  return part;
}

}  // namespace dualdeploy::fuzz
