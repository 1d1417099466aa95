#pragma once

#include <expected>
#include <filesystem>
#include <string>
#include <vector>

#include "config/config.hpp"

namespace dualdeploy::config {

/// A file of the configuration: its text, or why it cannot be read.
struct Source {
  std::filesystem::path file;
  std::expected<std::string, std::string> text;
};

/// What load() makes of the files that it has read; `services` in the order in which they are to be checked. Pure.
[[nodiscard]] std::expected<Config, std::vector<Problem>> parse(const Source& main_file, const std::vector<Source>& services);

}  // namespace dualdeploy::config
