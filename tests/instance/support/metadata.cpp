#include "instance/support/metadata.hpp"

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>

namespace dualdeploy::testing {

namespace fs = std::filesystem;

namespace {
void write(const fs::path& file, const std::string& content) {
  fs::create_directories(file.parent_path());
  // Renamed into place: the service never reads half of it.
  const fs::path beside = file.string() + ".new";
  std::ofstream(beside) << content;
  fs::rename(beside, file);
}
}  // namespace

MetadataService::MetadataService(const Instance& instance) : instance_(instance) {
  char name[] = "/tmp/dualdeploy-metadata-XXXXXX";
  directory_ = ::mkdtemp(name);
  fs::create_directories(directory_ / "values");
  behave("good");
  start();
}

MetadataService::~MetadataService() {
  stop();
  fs::remove_all(directory_);
}

void MetadataService::start() {
  const std::string log = directory_ / "log";
  fs::remove(log);
  program_.emplace(instance_, "python3 " DD_SOURCE_DIR "/tests/instance/support/metadata_service.py 192.0.2.2 8169 " + directory_.string(), log);
  instance_.until("the metadata service listens", [&] { return shell("grep -q listening " + log).status == 0; });
}

void MetadataService::stop() { program_.reset(); }

void MetadataService::set(const std::string& path, const std::string& value) const {
  if (value.empty()) {
    fs::remove(directory_ / "values" / path);
  } else {
    write(directory_ / "values" / path, value);
  }
}
void MetadataService::set_user_data(const std::string& text) const { write(directory_ / "user-data", text); }
void MetadataService::behave(const std::string& mode) const { write(directory_ / "mode", mode); }

}  // namespace dualdeploy::testing
