#include "state/store.hpp"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <boost/asio/post.hpp>
#include <boost/json.hpp>
#include <condition_variable>
#include <mutex>
#include <thread>

#include "host/text.hpp"
#include "host/wall_clock.hpp"
#include "state/files.hpp"

namespace dualdeploy::state {

namespace json = boost::json;
namespace fs = std::filesystem;

namespace {
constexpr std::size_t recent_limit = 5'000;
constexpr std::size_t queue_limit = 10'000;
constexpr std::size_t state_file_limit = 64 * 1024;

fs::path service_file(const fs::path& directory, const std::string& service) {
  return directory / "services" / (service + ".json");
}
fs::path history_file(const fs::path& directory) { return directory / "history.jsonl"; }
fs::path older_history_file(const fs::path& directory) { return directory / "history.1.jsonl"; }
}  // namespace

/// Carries out file work in order, one after the other, away from the event loop.
struct Store::Writer {
  using Job = std::function<void()>;

  Writer(boost::asio::any_io_executor executor_in, fs::path directory_in, std::int64_t history_bytes_in)
      : executor(std::move(executor_in)), directory(std::move(directory_in)), history_bytes(history_bytes_in),
        thread([this] { work(); }) {}

  ~Writer() {
    {
      const std::lock_guard lock(mutex);
      stopping = true;
    }
    changed.notify_all();
    thread.join();
  }

  /// False when the queue is full: the disk has been stuck for long.
  bool push(Job job) {
    {
      const std::lock_guard lock(mutex);
      if (jobs.size() >= queue_limit) return false;
      jobs.push_back(std::move(job));
    }
    changed.notify_all();
    return true;
  }

  void work() {
    std::unique_lock lock(mutex);
    for (;;) {
      changed.wait(lock, [this] { return stopping || !jobs.empty(); });
      if (jobs.empty()) return;
      const Job job = std::move(jobs.front());
      jobs.pop_front();
      busy = true;
      lock.unlock();
      job();
      lock.lock();
      busy = false;
      changed.notify_all();
    }
  }

  void flush() {
    std::unique_lock lock(mutex);
    changed.wait(lock, [this] { return jobs.empty() && !busy; });
  }

  /// On the writer's thread.
  void append_line(const std::string& line) {
    std::error_code error;
    const auto size = fs::file_size(history_file(directory), error);
    if (!error && static_cast<std::int64_t>(size) > history_bytes / 2) {
      fs::rename(history_file(directory), older_history_file(directory), error);
    }
    auto written = append_durably(history_file(directory), line);
    const bool failed = !written;
    if (failed != history_failing) {
      history_failing = failed;
      if (failed) {
        spdlog::error("history cannot be written: {}; it goes on in memory and in the journal", written.error().message);
      } else {
        spdlog::info("history is written again");
      }
    }
  }

  boost::asio::any_io_executor executor;
  fs::path directory;
  std::int64_t history_bytes;
  std::mutex mutex;
  std::condition_variable changed;
  std::deque<Job> jobs;
  bool stopping = false;
  bool busy = false;
  bool history_failing = false;
  std::thread thread;  // Last: it uses all of the above.
};

Store::Store(boost::asio::any_io_executor executor, fs::path directory, std::int64_t history_bytes)
    : directory_(std::move(directory)) {
  std::error_code error;
  fs::create_directories(directory_ / "services", error);
  const bool confined = error == std::errc::read_only_file_system;
  if (error) {
    spdlog::error("cannot create {}: {}{}", (directory_ / "services").string(), error.message(),
                  confined ? "; the unit needs ReadWritePaths=" + directory_.string() + ": systemctl edit dualdeployd" : "");
  }
  read_history();
  writer_ = std::make_unique<Writer>(std::move(executor), directory_, history_bytes);
}

Store::~Store() = default;

void Store::flush() { writer_->flush(); }

Store::Loaded Store::load(const std::string& service) {
  const fs::path path = service_file(directory_, service);
  std::error_code ignored;
  if (fs::symlink_status(path, ignored).type() == fs::file_type::not_found) return {};

  auto content = read_file(path, state_file_limit);
  if (!content) return {std::nullopt, "the saved state cannot be read: " + content.error().message, ""};
  auto saved = parse_state(*content);
  if (saved) {
    Loaded loaded{std::move(saved->durable), "", ""};
    if (saved->record && lacks(id_of(*saved->record))) {
      last_id_ = std::max(last_id_, id_of(*saved->record));
      loaded.late_record = host::json_text(*saved->record);
      keep(*saved->record);
      (void)writer_->push([this, line = loaded.late_record + "\n"] { writer_->append_line(line); });
    }
    return loaded;
  }

  fs::path aside = path;
  aside += ".unreadable";
  // It stays where it is, too, until a new one takes its place: an agent that ends before that must not find nothing.
  std::error_code failed;
  fs::remove(aside, ignored);
  fs::create_hard_link(path, aside, failed);
  if (failed) fs::rename(path, aside, ignored);
  return {std::nullopt,
          "the saved state " + path.string() + " cannot be used: " + saved.error().message + " (kept as " + aside.string() + ")",
          ""};
}

void Store::save(const std::string& service, const Durable& durable, std::optional<Record> record, OnSaved on_saved) {
  struct Job {
    OnSaved done;
    std::optional<StampedRecord> stamped;
    std::string line;
  };
  const auto job = std::make_shared<Job>();
  job->done = std::move(on_saved);
  if (record) {
    job->stamped = StampedRecord{++last_id_, host::wall_unix_ms(), service, std::move(*record)};
    job->line = host::json_text(to_json(*job->stamped)) + "\n";
  }
  // An intent is for an agent that comes back in this boot and finds the kernel half way. A power cut empties the kernel, and
  // the state before the intent leads to the same route.
  const Lasting lasting = durable.intent ? Lasting::either : Lasting::new_only;
  const bool taken = writer_->push([this, path = service_file(directory_, service), text = print_state(durable, job->stamped), lasting, job] {
    auto written = write_atomically(path, text, lasting);
    const bool saved = written.has_value();
    boost::asio::post(writer_->executor, [this, job, error = saved ? std::nullopt : std::optional(std::move(written.error()))] {
      if (!error && job->stamped) keep(to_json(*job->stamped));
      job->done(error, error ? std::nullopt : job->stamped);
    });
    // Nobody waits for it, and no other state of this service comes in between.
    if (saved && job->stamped) writer_->append_line(job->line);
  });
  if (!taken) {
    boost::asio::post(writer_->executor, [job] { job->done(Error{ErrorCode::failed, "the disk does not answer"}, {}); });
  }
}

StampedRecord Store::append(const std::string& service, Record record) {
  StampedRecord stamped{++last_id_, host::wall_unix_ms(), service, std::move(record)};
  json::object object = to_json(stamped);
  (void)writer_->push([this, line = host::json_text(object) + "\n"] { writer_->append_line(line); });
  keep(object);
  return stamped;
}

/// In the order of their numbers, as in the file. What is known only once it is saved comes late, and is older.
void Store::keep(const json::object& record) {
  const std::uint64_t id = id_of(record);
  const auto newer = std::find_if(recent_.rbegin(), recent_.rend(), [id](const json::object& known) { return id_of(known) <= id; });
  recent_.insert(newer.base(), record);  // A copy takes what it needs; what has grown took more.
  if (recent_.size() > recent_limit) recent_.pop_front();
}

/// Whether the history begins before this record and does not have it.
bool Store::lacks(std::uint64_t id) const {
  return (recent_.empty() || id_of(recent_.front()) < id) &&
         std::ranges::none_of(recent_, [&](const json::object& record) { return id_of(record) == id; });
}

std::vector<json::object> Store::history(const std::optional<std::string>& service, std::size_t limit,
                                         bool changes_only) const {
  std::vector<json::object> found;
  for (auto record = recent_.rbegin(); record != recent_.rend() && found.size() < limit; ++record) {
    const json::value* change = record->if_contains("change");
    if (changes_only && (change == nullptr || !change->is_bool() || !change->get_bool())) continue;
    const json::value* name = record->if_contains("service");
    const bool of_agent = name == nullptr || !name->is_string() || name->get_string().empty();
    if (service && !of_agent && name->get_string() != *service) continue;
    found.push_back(*record);
  }
  std::reverse(found.begin(), found.end());
  return found;
}

void Store::read_history() {
  for (const fs::path& path : {older_history_file(directory_), history_file(directory_)}) {
    constexpr std::size_t limit = std::size_t{1} << 30;
    auto content = read_file(path, limit);
    if (!content) continue;  // Not there yet, or not readable: the numbers start anew, nothing else depends on it.
    std::string_view rest = *content;
    while (!rest.empty()) {
      const std::string_view line = rest.substr(0, rest.find('\n'));
      rest.remove_prefix(std::min(rest.size(), line.size() + 1));
      auto record = parse_history_line(line);
      if (!record) continue;
      last_id_ = std::max(last_id_, id_of(*record));
      keep(*record);
    }
  }
}

}  // namespace dualdeploy::state
