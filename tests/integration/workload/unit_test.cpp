#include "workload/unit_side.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <functional>

#include "core/types.hpp"
#include "workload/bus.hpp"

/// Against a real systemd, with units of our own under /run: run it as root in an instance.
namespace dualdeploy::workload {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;

constexpr const char* unit_directory = "/run/systemd/system/";

struct Kind {
  std::string name;
  std::shared_ptr<Systemd> (*make)(boost::asio::any_io_executor);
};
const Kind kinds[]{{"bus", make_bus_systemd}, {"systemctl", make_systemctl}};

class UnitSideTest : public ::testing::TestWithParam<Kind> {
 protected:
  void SetUp() override {
    if (::sd_booted() <= 0 || ::geteuid() != 0) GTEST_SKIP() << "needs root on a machine that systemd has booted";
  }
  void TearDown() override {
    sides.clear();
    for (const std::string& unit : units) {
      system("systemctl stop " + unit + " 2>/dev/null");
      system("systemctl reset-failed " + unit + " 2>/dev/null");
      std::filesystem::remove(unit_directory + unit);
    }
    if (!units.empty()) system("systemctl daemon-reload");
  }

  /// Never with 0, which would be everything that belongs to the test.
  static bool kill_process(std::int64_t pid) { return pid > 0 && ::kill(static_cast<pid_t>(pid), SIGKILL) == 0; }

  static int system(const std::string& command) { return std::system(command.c_str()); }

  void make_unit(const std::string& unit, const std::string& service) {
    units.push_back(unit);
    std::ofstream(unit_directory + unit) << "[Service]\n" << service << "\n";
    ASSERT_EQ(system("systemctl daemon-reload"), 0);
  }

  /// Watches a unit; what it reports is in `reports`.
  UnitSide& watch(const std::string& unit) {
    config::RpmSide side;
    side.unit = unit;
    sides.push_back(std::make_unique<UnitSide>(loop.get_executor(), systemd, side, [this](const Workload& workload) {
      reports.push_back(workload);
    }));
    sides.back()->watch();
    return *sides.back();
  }

  bool until(const std::function<bool()>& reached, Milliseconds patience = 10s) {
    const auto end = std::chrono::steady_clock::now() + patience;
    loop.restart();
    while (!reached() && loop.run_one_until(end) > 0) {
    }
    return reached();
  }
  bool until(RunState state, Milliseconds patience = 10s) {
    return until([this, state] { return !reports.empty() && reports.back().state == state; }, patience);
  }
  [[nodiscard]] bool reported(RunState state) const {
    return std::ranges::any_of(reports, [state](const Workload& workload) { return workload.state == state; });
  }
  void run_for(Milliseconds duration) {
    loop.restart();
    loop.run_for(duration);
  }

  /// Begins a job; its outcome is kept when it is known.
  std::shared_ptr<std::optional<Expected<void>>> begin(boost::asio::awaitable<Expected<void>> job) {
    auto outcome = std::make_shared<std::optional<Expected<void>>>();
    boost::asio::co_spawn(loop, std::move(job), [outcome](const std::exception_ptr& error, Expected<void> result) {
      if (error) std::rethrow_exception(error);
      *outcome = std::move(result);
    });
    return outcome;
  }
  Expected<void> finish(boost::asio::awaitable<Expected<void>> job) {
    const auto outcome = begin(std::move(job));
    if (!until([&outcome] { return outcome->has_value(); }, 30s)) return fail("the test waited in vain");
    return **outcome;
  }

  boost::asio::io_context loop;
  std::shared_ptr<Systemd> systemd = GetParam().make(loop.get_executor());
  std::vector<std::unique_ptr<UnitSide>> sides;
  std::vector<Workload> reports;
  std::vector<std::string> units;
};

std::string message_of(const Expected<void>& result) { return result ? "" : result.error().message; }

TEST_P(UnitSideTest, NoSuchUnit) {
  UnitSide& side = watch("dd-test-missing.service");
  ASSERT_TRUE(until(RunState::missing));
  EXPECT_EQ(reports.back().detail, "there is no unit dd-test-missing.service");
  EXPECT_THAT(message_of(finish(side.start())), HasSubstr("not found"));
}

TEST_P(UnitSideTest, MaskedUnit) {
  std::filesystem::create_symlink("/dev/null", std::string(unit_directory) + "dd-test-masked.service");
  units.push_back("dd-test-masked.service");
  ASSERT_EQ(system("systemctl daemon-reload"), 0);
  UnitSide& side = watch("dd-test-masked.service");
  ASSERT_TRUE(until(RunState::missing));
  EXPECT_THAT(reports.back().detail, HasSubstr("the unit is masked"));
  EXPECT_THAT(message_of(finish(side.start())), HasSubstr("masked"));
}

TEST_P(UnitSideTest, StartRestartStop) {
  make_unit("dd-test.service", "ExecStart=/bin/sleep 1000");
  UnitSide& side = watch("dd-test.service");
  ASSERT_TRUE(until(RunState::stopped));
  EXPECT_EQ(message_of(finish(side.start())), "");
  ASSERT_TRUE(until(RunState::running));
  const std::int64_t first = reports.back().pid;
  EXPECT_GT(first, 0);
  EXPECT_EQ(message_of(finish(side.restart())), "");
  ASSERT_TRUE(until([&] { return reports.back().state == RunState::running && reports.back().pid != first; }));
  EXPECT_EQ(message_of(finish(side.stop())), "");
  ASSERT_TRUE(until(RunState::stopped));
  EXPECT_EQ(reports.back().pid, 0);
}

TEST_P(UnitSideTest, ChangesByOthersAreSeen) {
  make_unit("dd-test.service", "ExecStart=/bin/sleep 1000");
  watch("dd-test.service");
  ASSERT_TRUE(until(RunState::stopped));
  system("systemctl start dd-test.service");
  EXPECT_TRUE(until(RunState::running));
  system("systemctl stop dd-test.service");
  EXPECT_TRUE(until(RunState::stopped));
}

TEST_P(UnitSideTest, DeathIsSeenAtOnceThenExplained) {
  make_unit("dd-test.service", "ExecStart=/bin/sleep 1000");
  UnitSide& side = watch("dd-test.service");
  ASSERT_EQ(message_of(finish(side.start())), "");
  ASSERT_TRUE(until(RunState::running));
  const std::int64_t pid = reports.back().pid;
  const auto killed = std::chrono::steady_clock::now();
  ASSERT_TRUE(kill_process(pid));
  ASSERT_TRUE(until(RunState::failed));
  EXPECT_LT(std::chrono::steady_clock::now() - killed, 1s);
  EXPECT_TRUE(until([this] { return reports.back().detail == "killed by SIGKILL"; }));
  EXPECT_EQ(reports.back().state, RunState::failed);
  EXPECT_EQ(reports.back().pid, 0);
}

TEST_P(UnitSideTest, SystemdStartsItAgain) {
  make_unit("dd-test.service", "ExecStart=/bin/sleep 1000\nRestart=always\nRestartSec=100ms");
  UnitSide& side = watch("dd-test.service");
  ASSERT_EQ(message_of(finish(side.start())), "");
  ASSERT_TRUE(until(RunState::running));
  for (int i = 0; i < 3; ++i) {
    const std::int64_t pid = reports.back().pid;
    ASSERT_TRUE(kill_process(pid));
    ASSERT_TRUE(until([&] { return reports.back().state == RunState::running && reports.back().pid != pid; })) << i;
  }
}

TEST_P(UnitSideTest, AJobThatFails) {
  make_unit("dd-test.service", "Type=oneshot\nExecStart=/bin/sh -c 'exit 7'");
  UnitSide& side = watch("dd-test.service");
  EXPECT_THAT(message_of(finish(side.start())), ::testing::AnyOf(HasSubstr("ended as 'failed'"), HasSubstr("Job for dd-test.service failed")));
  ASSERT_TRUE(until(RunState::failed));
  EXPECT_EQ(reports.back().detail, "exited with status 7");
}

TEST_P(UnitSideTest, StartLimit) {
  units.push_back("dd-test.service");
  std::ofstream(std::string(unit_directory) + "dd-test.service")
      << "[Unit]\nStartLimitBurst=2\nStartLimitIntervalSec=1000\n[Service]\nExecStart=/bin/false\nRestart=always\nRestartSec=1ms\n";
  ASSERT_EQ(system("systemctl daemon-reload"), 0);
  UnitSide& side = watch("dd-test.service");
  (void)finish(side.start());
  ASSERT_TRUE(until([this] { return !reports.empty() && reports.back().detail.find("gave up") != std::string::npos; }))
      << reports.back().detail;
  EXPECT_EQ(reports.back().state, RunState::failed);
}

TEST_P(UnitSideTest, ReexecutionAndReloadAreNoFailure) {
  make_unit("dd-test.service", "ExecStart=/bin/sleep 1000");
  UnitSide& side = watch("dd-test.service");
  ASSERT_EQ(message_of(finish(side.start())), "");
  ASSERT_TRUE(until(RunState::running));
  const std::int64_t pid = reports.back().pid;
  reports.clear();
  for (const char* command : {"systemctl daemon-reexec &", "systemctl daemon-reload &"}) {
    system(command);
    run_for(3s);
    EXPECT_FALSE(reported(RunState::unknown)) << command;
    EXPECT_FALSE(reported(RunState::failed)) << command;
  }
  ASSERT_TRUE(kill_process(pid));  // It still listens.
  EXPECT_TRUE(until([this] { return !reports.empty() && reports.back().detail == "killed by SIGKILL"; }));
}

TEST_P(UnitSideTest, AJobOutlivesAReexecution) {
  make_unit("dd-test.service", "Type=oneshot\nRemainAfterExit=yes\nExecStart=/bin/sleep 3");
  UnitSide& side = watch("dd-test.service");
  const auto outcome = begin(side.start());
  ASSERT_TRUE(until(RunState::starting));
  system("systemctl daemon-reexec &");
  ASSERT_TRUE(until([&] { return outcome->has_value(); }, 20s));
  EXPECT_EQ(message_of(**outcome), "");
}

TEST_P(UnitSideTest, JobsOfSeveralUnitsDoNotWakeEachOther) {
  std::vector<std::shared_ptr<std::optional<Expected<void>>>> outcomes;
  for (const char* unit : {"dd-test-1.service", "dd-test-2.service", "dd-test-3.service"}) {
    make_unit(unit, "Type=oneshot\nRemainAfterExit=yes\nExecStart=/bin/sleep 1");
    outcomes.push_back(begin(watch(unit).start()));
  }
  ASSERT_TRUE(until([this] { return reports.size() >= 3; }));
  const std::clock_t used = std::clock();
  ASSERT_TRUE(until([&] { return std::ranges::all_of(outcomes, [](const auto& o) { return o->has_value(); }); }));
  EXPECT_LT(std::clock() - used, CLOCKS_PER_SEC / 4);  // Waited, not spun.
  for (const auto& outcome : outcomes) EXPECT_EQ(message_of(**outcome), "");
}

TEST_P(UnitSideTest, MayBeDestroyedWhileAJobRuns) {
  make_unit("dd-test.service", "Type=oneshot\nExecStart=/bin/sleep 2");
  const auto outcome = begin(watch("dd-test.service").start());
  ASSERT_TRUE(until(RunState::starting));
  const std::size_t seen = reports.size();
  sides.clear();
  EXPECT_TRUE(until([&] { return outcome->has_value(); }));
  EXPECT_EQ(reports.size(), seen);
}

INSTANTIATE_TEST_SUITE_P(, UnitSideTest, ::testing::ValuesIn(kinds), [](const auto& each) { return each.param.name; });

class BusTest : public UnitSideTest {};
INSTANTIATE_TEST_SUITE_P(, BusTest, ::testing::Values(kinds[0]), [](const auto& each) { return each.param.name; });

TEST_P(BusTest, MayGoFirst) {
  make_unit("dd-test.service", "Type=oneshot\nExecStart=/bin/sleep 2");
  auto job = std::make_shared<Bus>(loop.get_executor());
  boost::asio::co_spawn(loop, job->call(manager_path, manager_interface, "LoadUnit", {"dd-test.service"}),
                        [](const std::exception_ptr&, const Expected<BusMessage>& answer) { EXPECT_FALSE(answer); });
  job.reset();
  run_for(100ms);
}

}  // namespace
}  // namespace dualdeploy::workload
