#include "config/document.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <yaml-cpp/depthguard.h>
#include <yaml-cpp/eventhandler.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <sstream>

#include "core/utf8.hpp"

namespace dualdeploy::config {
namespace {

class FileDescriptor {
 public:
  explicit FileDescriptor(int descriptor) : descriptor_(descriptor) {}
  ~FileDescriptor() {
    if (descriptor_ >= 0) ::close(descriptor_);
  }
  FileDescriptor(const FileDescriptor&) = delete;
  FileDescriptor& operator=(const FileDescriptor&) = delete;
  [[nodiscard]] int get() const { return descriptor_; }

 private:
  int descriptor_;
};

std::expected<std::string, std::string> read_text(const std::filesystem::path& path) {
  const auto failed = [](int error) { return std::unexpected(std::string("cannot be read: ") + std::strerror(error)); };
  // O_NONBLOCK: opening a FIFO must not wait for a writer.
  const FileDescriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (file.get() < 0) return failed(errno);
  struct stat status {};
  if (::fstat(file.get(), &status) != 0) return failed(errno);
  if (S_ISDIR(status.st_mode)) return failed(EISDIR);
  if (!S_ISREG(status.st_mode)) return std::unexpected("cannot be read: expected a regular file");
  if (auto others = writable_by_others(status)) return std::unexpected(std::move(*others));
  std::string text;
  std::array<char, 16'384> buffer{};
  while (text.size() <= largest_file_bytes) {
    const ssize_t count = ::read(file.get(), buffer.data(), buffer.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return failed(errno);
    if (count == 0) return text;
    text.append(buffer.data(), static_cast<std::size_t>(count));
  }
  return std::unexpected("larger than 1MiB; expected a configuration file");
}

/// YAML allows no control characters and no broken UTF-8. yaml-cpp replaces the latter silently, and takes
/// the byte 4 for the end of the file.
bool is_text(std::string_view text, Report& report) {
  YAML::Mark mark;
  while (!text.empty()) {
    const auto first = static_cast<unsigned char>(text.front());
    std::size_t length = utf8_length(text);
    if (first < 0x20 && first != '\t' && first != '\n' && first != '\r') length = 0;
    if (first == 0x7f) length = 0;
    if (length == 0) {
      report.at(mark, "not a text file; expected UTF-8 without control characters");
      return false;
    }
    ++mark.column;
    if (first == '\n') {
      ++mark.line;
      mark.column = 0;
    }
    text.remove_prefix(length);
  }
  return true;
}

/// Notes where a document begins; its content is of no interest.
class DocumentStart : public YAML::EventHandler {
 public:
  YAML::Mark mark;

  void OnDocumentStart(const YAML::Mark& start) override { mark = start; }
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark&, YAML::anchor_t) override {}
  void OnAlias(const YAML::Mark&, YAML::anchor_t) override {}
  void OnScalar(const YAML::Mark&, const std::string&, YAML::anchor_t, const std::string&) override {}
  void OnSequenceStart(const YAML::Mark&, const std::string&, YAML::anchor_t,
                       YAML::EmitterStyle::value) override {}
  void OnSequenceEnd() override {}
  void OnMapStart(const YAML::Mark&, const std::string&, YAML::anchor_t, YAML::EmitterStyle::value) override {
  }
  void OnMapEnd() override {}
};

/// Not YAML::LoadAll: at a stray "," or "]" yaml-cpp 0.7 finds one empty document after the other without
/// end.
bool is_one_document(const std::string& text, Report& report) {
  std::istringstream stream(text);
  YAML::Parser parser(stream);
  DocumentStart start;
  if (!parser.HandleNextDocument(start) || !parser.HandleNextDocument(start)) return true;
  std::istringstream lines(text);
  std::string line;
  for (int number = 0; number <= start.mark.line; ++number) std::getline(lines, line);
  const bool is_marked = start.mark.column == 0 && line.starts_with("---");
  report.at(start.mark,
            is_marked ? "a second YAML document; expected one in a file" : "not valid YAML: unexpected here");
  return false;
}

}  // namespace

std::optional<std::string> writable_by_others(const struct stat& status) {
  if (::geteuid() != 0) return std::nullopt;  // A draft, which is only looked at.
  const std::string why = "; the agent runs programs named here as root, so nobody else may write it: ";
  if (status.st_uid != 0) return "belongs to user " + std::to_string(status.st_uid) + why + "chown root";
  const bool sticky_directory = S_ISDIR(status.st_mode) && (status.st_mode & S_ISVTX) != 0;
  if (sticky_directory) return std::nullopt;  // /tmp: what is in it stays its owner's.
  if ((status.st_mode & S_IWOTH) != 0) return "anybody may write it" + why + "chmod o-w";
  if ((status.st_mode & S_IWGRP) != 0 && status.st_gid != 0) {
    return "group " + std::to_string(status.st_gid) + " may write it" + why + "chmod g-w";
  }
  return std::nullopt;
}

Source read_source(const std::filesystem::path& file) { return {file, read_text(file)}; }

std::optional<YAML::Node> parse_document(const Source& source, Report& report) {
  if (!source.text) {
    report.whole_file(source.text.error());
    return std::nullopt;
  }
  if (!is_text(*source.text, report)) return std::nullopt;
  try {
    if (is_one_document(*source.text, report)) return YAML::Load(*source.text);
  } catch (const YAML::DeepRecursion& exception) {
    report.at(exception.mark, "not valid YAML: nested too deeply");
  } catch (const YAML::Exception& exception) {
    report.at(exception.mark, "not valid YAML: " + exception.msg);
  }
  return std::nullopt;
}

}  // namespace dualdeploy::config
