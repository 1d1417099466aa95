#pragma once

#include <sys/stat.h>
#include <yaml-cpp/yaml.h>

#include <cstddef>
#include <optional>
#include <string>

#include "config/reader.hpp"

namespace dualdeploy::config {

inline constexpr std::size_t largest_file_bytes = 1024 * 1024;

/// Why a file or directory of the configuration is not root's alone, as sudo, cron and logrotate have it with theirs. Nothing
/// if it is, or if this process is not root, which the agent always is.
[[nodiscard]] std::optional<std::string> writable_by_others(const struct stat& status);

/// The one YAML document of `report.file()`; a null node if the file holds nothing but comments. What is
/// wrong with the file as such (unreadable, too large, not text, not YAML, several documents) is reported.
[[nodiscard]] std::optional<YAML::Node> read_document(Report& report);

}  // namespace dualdeploy::config
