#pragma once

#include <yaml-cpp/yaml.h>

#include <cstddef>
#include <optional>

#include "config/reader.hpp"

namespace dualdeploy::config {

inline constexpr std::size_t largest_file_bytes = 1024 * 1024;

/// The one YAML document of `report.file()`; a null node if the file holds nothing but comments. What is
/// wrong with the file as such (unreadable, too large, not text, not YAML, several documents) is reported.
[[nodiscard]] std::optional<YAML::Node> read_document(Report& report);

}  // namespace dualdeploy::config
