#include "instance/support/talk.hpp"

namespace dualdeploy::testing {

std::string talk(const Instance& instance, const std::string& address, const std::function<void()>& between) {
  const std::string made = shell("mktemp -d").output;
  const std::string dir = made.substr(0, made.find('\n'));
  instance.do_client("mkfifo " + dir + "/in");
  instance.do_client("( exec 3<>" + dir + "/in; socat -t 30 - " + address + " <" + dir + "/in >" + dir + "/out 2>&1 & )");
  instance.do_client("printf 'GET /stream HTTP/1.1\\r\\nHost: x\\r\\n\\r\\nfirst\\n' > " + dir + "/in & true");
  instance.until("the long connection speaks", [&] { return shell("cat " + dir + "/out").output.find(": first") != std::string::npos; });
  between();
  instance.do_client("printf 'second\\n' > " + dir + "/in & true");
  instance.until("the long connection goes on", [&] { return shell("cat " + dir + "/out").output.find(": second") != std::string::npos; });
  const std::string heard = shell("cat " + dir + "/out; rm -rf " + dir).output;
  return heard;
}

}  // namespace dualdeploy::testing
