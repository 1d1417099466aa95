#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "core/error.hpp"

namespace dualdeploy::state {

/// What a power cut after write_atomically() may leave.
enum class Lasting {
  new_only,  ///< The new content.
  either,    ///< The new content or the one before; spares the disk one flush of two.
};

/// Replaces the file as a whole or not at all, also across a power cut: temporary file beside it, fsync(2), rename(2), and,
/// for `new_only`, fsync of the directory.
[[nodiscard]] Expected<void> write_atomically(const std::filesystem::path& path, std::string_view content,
                                              Lasting lasting = Lasting::new_only);

/// Appends and makes it durable (fdatasync(2)).
[[nodiscard]] Expected<void> append_durably(const std::filesystem::path& path, std::string_view content);

/// The whole file. Error message starts with the path.
[[nodiscard]] Expected<std::string> read_file(const std::filesystem::path& path, std::size_t limit_bytes);

}  // namespace dualdeploy::state
