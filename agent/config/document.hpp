#pragma once

#include <yaml-cpp/yaml.h>

#include <cstddef>
#include <optional>

#include "config/parse.hpp"
#include "config/reader.hpp"

namespace dualdeploy::config {

inline constexpr std::size_t largest_file_bytes = 1024 * 1024;

/// The file's text, or why it cannot be read (also: larger than any configuration).
[[nodiscard]] Source read_source(const std::filesystem::path& file);

/// The one YAML document of the source; a null node if it holds nothing but comments. What is wrong with it as
/// such (unreadable, not text, not YAML, several documents) is reported.
[[nodiscard]] std::optional<YAML::Node> parse_document(const Source& source, Report& report);

}  // namespace dualdeploy::config
