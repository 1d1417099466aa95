#include "simulation/disk.hpp"

#include <utility>

namespace dualdeploy::simulation {

Disk::Loaded Disk::load(std::size_t service) {
  File& file = files_[service];
  if (time_.happens(Fault::state_unreadable, 0.03)) file.unreadable = true;
  if (!file.unreadable && !file.torn) return {file.content, false, {}};
  file.content.reset();
  return {std::nullopt, true, file.torn};
}

void Disk::save(std::size_t service, const Durable& durable, std::function<void()> on_written, Done done) {
  Job job{.service = service, .durable = durable};
  job.fails = time_.happens(Fault::disk_fails, 0.03);
  job.written_all_the_same = job.fails && time_.chance(0.15);
  job.takes = time_.between(1ms, 20ms);
  if (time_.happens(Fault::disk_fails, 0.03)) job.takes = time_.chance(0.1) ? time_.between(8s, 120s) : time_.between(500ms, 8s);
  job.on_written = std::move(on_written);
  job.done = std::move(done);
  jobs_.push_back(std::move(job));
  if (jobs_.size() == 1) work();
}

void Disk::work() {
  time_.later(jobs_.front().takes, time_.life(), [this] { finish(); });
}

void Disk::write(const Job& job) {
  files_[job.service].content = job.durable;
  files_[job.service].torn.reset();
  files_[job.service].unreadable = false;
  job.on_written();
}

void Disk::finish() {
  const Job job = std::move(jobs_.front());
  jobs_.pop_front();
  if (!job.fails || job.written_all_the_same) write(job);
  if (job.written_all_the_same) files_[job.service].misreported_at = time_.now();
  if (!jobs_.empty()) work();
  job.done(job.fails ? std::optional(Error{ErrorCode::failed, "disk full"}) : std::nullopt);
}

void Disk::agent_died(bool power_cut) {
  const std::deque<Job> jobs = std::exchange(jobs_, {});
  if (jobs.empty()) return;
  const Job& current = jobs.front();
  if (power_cut && time_.chance(0.5)) {
    files_[current.service].content.reset();
    files_[current.service].torn = current.durable;
  } else if (time_.chance(0.5) && !current.fails) {
    write(current);
  }
}

}  // namespace dualdeploy::simulation
