#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

#include "config/config.hpp"

namespace dualdeploy::config {

/// A configuration directory of its own, gone with the object.
class ConfigDirectory {
 public:
  ConfigDirectory() {
    std::string path = (std::filesystem::temp_directory_path() / "dualdeploy-config-XXXXXX").string();
    if (::mkdtemp(path.data()) == nullptr) ADD_FAILURE() << "mkdtemp " << path;
    root_ = path;
    std::filesystem::create_directory(root_ / "services.d");
    write("agent.yaml", "");
  }
  ~ConfigDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(root_, ignored);
  }
  ConfigDirectory(const ConfigDirectory&) = delete;
  ConfigDirectory& operator=(const ConfigDirectory&) = delete;

  void write(const std::string& name, std::string_view text) const {
    std::ofstream(root_ / name, std::ios::binary) << text;
  }
  void copy(const std::filesystem::path& from, const std::string& name) const {
    std::filesystem::copy_file(from, root_ / name, std::filesystem::copy_options::overwrite_existing);
  }
  [[nodiscard]] std::filesystem::path path(const std::string& name) const { return root_ / name; }
  [[nodiscard]] auto load() const { return config::load(root_ / "agent.yaml"); }

  /// The problems as text, paths relative to the directory.
  [[nodiscard]] std::vector<std::string> problems() const {
    std::vector<std::string> lines;
    const auto loaded = load();
    if (loaded) return lines;
    for (const Problem& problem : loaded.error()) {
      std::string line = describe(problem);
      const std::string prefix = root_.string() + "/";
      for (auto at = line.find(prefix); at != std::string::npos; at = line.find(prefix))
        line.erase(at, prefix.size());
      lines.push_back(line);
    }
    return lines;
  }

 private:
  std::filesystem::path root_;
};

}  // namespace dualdeploy::config
