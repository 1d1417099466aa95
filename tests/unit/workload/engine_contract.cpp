#include "workload/engine_contract.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support_loop.hpp"
#include "workload/container_side.hpp"

namespace dualdeploy::workload::testing {

namespace asio = boost::asio;
using namespace std::chrono_literals;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

namespace {

constexpr const char* name = "dualdeploy-contract";

std::string message_of(const Expected<void>& result) { return result ? "" : result.error().message; }

config::ContainerSide configuration(const EngineUnderTest& engine) {
  // Whatever a configuration can ask for is asked for: no engine may refuse a field.
  config::ContainerSide side;
  side.image = engine.image;
  side.command = engine.command;
  side.environment = {{"CONTRACT", "1"}};
  side.stop_timeout = 7s;
  side.memory_bytes = 64 * 1024 * 1024;
  side.pids_limit = 50;
  side.read_only_root = true;
  side.tmpfs = {"/tmp:size=1m"};
  side.cap_drop = {"CAP_NET_RAW"};
  side.security_options = {"no-new-privileges"};
  side.ulimits = {{"nofile", 1024, 2048}, {"nproc", 4096, 8192}};
  side.labels = {{"org.example", "contract"}};
  return side;
}

/// The events of the container so far, and the end of the stream.
struct Followed {
  bool open = false;
  bool ended = false;
  std::vector<EngineClient::Event> events;
  std::shared_ptr<EngineClient::Following> following = std::make_shared<EngineClient::Following>();

  [[nodiscard]] std::size_t count(const std::string& action) const {
    return static_cast<std::size_t>(std::ranges::count(events, action, &EngineClient::Event::action));
  }
  [[nodiscard]] std::string last_exit_code() const {
    std::string code;
    for (const EngineClient::Event& event : events) {
      if (event.action == "die") code = event.exit_code;
    }
    return code;
  }
};

class Contract {
 public:
  Contract(asio::io_context& loop, const EngineUnderTest& engine)
      : loop_(loop), engine_(engine), client_(loop.get_executor(), engine.socket, engine.highest_minor) {}

  void run() {
    ASSERT_NO_FATAL_FAILURE(images());
    (void)done(client_.remove(name));
    follow();
    ASSERT_TRUE(until([this] { return followed_.open; }));
    ASSERT_NO_FATAL_FAILURE(creation());
    ASSERT_NO_FATAL_FAILURE(life());
    ASSERT_NO_FATAL_FAILURE(death());
    removal();
    followed_.following->stop();
    EXPECT_TRUE(until([this] { return followed_.ended; }));
  }

 private:
  void images() {
    EXPECT_EQ(message_of(done(client_.ping())), "");
    auto image = done(client_.inspect_image(engine_.image));
    ASSERT_TRUE(image) << image.error().message;
    ASSERT_TRUE(*image);
    image_id_ = (*image)->id;
    EXPECT_THAT(image_id_, ::testing::MatchesRegex("(sha256:)?[0-9a-f]{64}"));
    EXPECT_EQ((*image)->revision, engine_.revision);
    const auto none = done(client_.inspect_image("dualdeploy-none:1.0"));
    ASSERT_TRUE(none) << none.error().message;
    EXPECT_FALSE(*none);
  }

  void creation() {
    auto none = inspect();
    ASSERT_TRUE(none) << none.error().message;
    EXPECT_FALSE(*none);
    config::ContainerSide wrong = configuration(engine_);
    auto body = create_body("contract", wrong, "dualdeploy-none:1.0");
    EXPECT_THAT(message_of(done(client_.create(name, body))), AllOf(HasSubstr("dualdeploy-none"), HasSubstr("(HTTP 404)")));
    body = create_body("contract", configuration(engine_), image_id_);
    ASSERT_EQ(message_of(done(client_.create(name, body))), "");
    // The name is taken: said in the engine's words, as one line.
    EXPECT_THAT(message_of(done(client_.create(name, body))), AllOf(HasSubstr("in use"), Not(HasSubstr("\n")), Not(HasSubstr("{"))));
    const auto created = inspect();
    ASSERT_TRUE(created && *created);
    EXPECT_FALSE((*created)->running);
    EXPECT_EQ((*created)->image_id.substr((*created)->image_id.find(':') + 1), image_id_.substr(image_id_.find(':') + 1));
    EXPECT_EQ((*created)->labels.at(service_label).as_string(), "contract");
    EXPECT_EQ((*created)->labels.at(config_label), body.at("Labels").at(config_label));
    EXPECT_EQ((*created)->labels.at("org.example").as_string(), "contract");
  }

  void life() {
    ASSERT_EQ(message_of(done(client_.start(name))), "");
    EXPECT_EQ(message_of(done(client_.start(name))), "") << "a second start is no error";
    EXPECT_TRUE(until([this] { return followed_.count("start") == 1; }));
    const auto running = inspect();
    ASSERT_TRUE(running && *running);
    EXPECT_TRUE((*running)->running);
    EXPECT_EQ((*running)->status, "running");
    EXPECT_GT((*running)->pid, 0);
    ASSERT_EQ(message_of(done(client_.stop(name, 5s))), "");
    EXPECT_EQ(message_of(done(client_.stop(name, 5s))), "") << "a second stop is no error";
    EXPECT_TRUE(until([this] { return followed_.count("die") == 1; }));
    EXPECT_EQ(followed_.last_exit_code(), "0");
    const auto stopped = inspect();
    ASSERT_TRUE(stopped && *stopped);
    EXPECT_FALSE((*stopped)->running);
    EXPECT_EQ((*stopped)->status, "exited");
    EXPECT_EQ((*stopped)->exit_code, 0);
  }

  void death() {
    ASSERT_EQ(message_of(done(client_.start(name))), "");
    auto running = inspect();
    ASSERT_TRUE(running && *running);
    engine_.kill((*running)->pid);
    EXPECT_TRUE(until([this] { return followed_.count("die") == 2; }));
    EXPECT_EQ(followed_.last_exit_code(), "137");
    const auto dead = inspect();
    ASSERT_TRUE(dead && *dead);
    EXPECT_FALSE((*dead)->running);
    EXPECT_EQ((*dead)->exit_code, 137);
    EXPECT_FALSE((*dead)->oom_killed);
  }

  void removal() {
    ASSERT_EQ(message_of(done(client_.start(name))), "");
    EXPECT_EQ(message_of(done(client_.remove(name))), "") << "one that runs is removed too";
    EXPECT_EQ(message_of(done(client_.remove(name))), "") << "a second removal is no error";
    const auto none = inspect();
    ASSERT_TRUE(none) << none.error().message;
    EXPECT_FALSE(*none);
    EXPECT_THAT(message_of(done(client_.start(name))), AllOf(HasSubstr(name), HasSubstr("(HTTP 404)")));
  }

  Expected<std::optional<EngineClient::Container>> inspect() { return done(client_.inspect_container(name)); }

  void follow() {
    auto stream = client_.follow_events(
        name, [this] { followed_.open = true; }, [this](const EngineClient::Event& event) { followed_.events.push_back(event); },
        followed_.following);
    asio::co_spawn(loop_, std::move(stream), [this](const std::exception_ptr&, const Error&) { followed_.ended = true; });
  }

  template <class T>
  T done(asio::awaitable<T> task) {
    return dualdeploy::testing::run(loop_, std::move(task));
  }
  bool until(const std::function<bool()>& reached) {
    const auto end = std::chrono::steady_clock::now() + 30s;
    loop_.restart();
    while (!reached() && loop_.run_one_until(end) > 0) {
    }
    return reached();
  }

  asio::io_context& loop_;
  const EngineUnderTest& engine_;
  EngineClient client_;
  Followed followed_;
  std::string image_id_;
};

}  // namespace

void expect_contract(asio::io_context& loop, const EngineUnderTest& engine) { Contract(loop, engine).run(); }

}  // namespace dualdeploy::workload::testing
