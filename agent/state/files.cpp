#include "state/files.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "host/crash_point.hpp"

namespace dualdeploy::state {
namespace {

class File {
 public:
  File(const std::filesystem::path& path, int flags, mode_t mode = 0) : fd_(::open(path.c_str(), flags | O_CLOEXEC, mode)) {}
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  ~File() {
    if (fd_ >= 0) ::close(fd_);
  }
  [[nodiscard]] bool open() const { return fd_ >= 0; }
  [[nodiscard]] int fd() const { return fd_; }

 private:
  int fd_;
};

Expected<void> write_all(int fd, std::string_view content) {
  while (!content.empty()) {
    const ssize_t written = ::write(fd, content.data(), content.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return fail_errno("write", errno);
    content.remove_prefix(static_cast<std::size_t>(written));
  }
  return {};
}

constexpr mode_t file_mode = 0640;

}  // namespace

Expected<void> write_atomically(const std::filesystem::path& path, std::string_view content, Lasting lasting) {
  const std::filesystem::path temporary = path.string() + ".new";
  {
    const File file(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, file_mode);
    if (!file.open()) return fail_errno(temporary.string(), errno);
    auto written = write_all(file.fd(), content);
    if (written && ::fsync(file.fd()) != 0) written = fail_errno("fsync", errno);
    if (!written) {
      ::unlink(temporary.c_str());
      return std::unexpected(std::move(written.error()).within(temporary.string()));
    }
  }
  host::crash_point("file written aside");
  if (::rename(temporary.c_str(), path.c_str()) != 0) {
    const int why = errno;
    ::unlink(temporary.c_str());
    return fail_errno("rename to " + path.string(), why);
  }
  host::crash_point("file in place");
  if (lasting == Lasting::either) return {};
  const File directory(path.parent_path(), O_RDONLY | O_DIRECTORY);
  if (!directory.open() || ::fsync(directory.fd()) != 0) return fail_errno("fsync of " + path.parent_path().string(), errno);
  return {};
}

Expected<void> append_durably(const std::filesystem::path& path, std::string_view content) {
  const File file(path, O_RDWR | O_CREAT | O_APPEND | O_NOFOLLOW, file_mode);
  if (!file.open()) return fail_errno(path.string(), errno);
  struct stat before {};
  if (::fstat(file.fd(), &before) != 0) return fail_errno(path.string(), errno);
  // A line torn by a power cut is ended here, so that it spoils only itself.
  std::string text;
  char last = '\n';
  if (before.st_size > 0 && ::pread(file.fd(), &last, 1, before.st_size - 1) == 1 && last != '\n') text = "\n";
  text += content;
  host::crash_point("history to write");
  auto written = write_all(file.fd(), text);
  if (written && ::fdatasync(file.fd()) != 0) written = fail_errno("fdatasync", errno);
  if (!written) {
    if (::ftruncate(file.fd(), before.st_size) != 0) {}  // A full disk leaves no half line; if even that fails, a torn one.
    return std::unexpected(std::move(written.error()).within(path.string()));
  }
  return {};
}

Expected<std::string> read_file(const std::filesystem::path& path, std::size_t limit_bytes) {
  const File file(path, O_RDONLY);
  if (!file.open()) return fail_errno(path.string(), errno);
  std::string content;
  char buffer[16 * 1024];
  for (;;) {
    const ssize_t count = ::read(file.fd(), buffer, sizeof buffer);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return fail_errno(path.string(), errno);
    if (count == 0) return content;
    content.append(buffer, static_cast<std::size_t>(count));
    if (content.size() > limit_bytes) return fail(path.string() + ": larger than " + std::to_string(limit_bytes) + " bytes");
  }
}

}  // namespace dualdeploy::state
