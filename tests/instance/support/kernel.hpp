#pragma once

#include <string>
#include <vector>

namespace dualdeploy::testing {

/// Which kernel backend the agents under test are told to use, and the words of its tools for whoever looks at the rules
/// or meddles with them. All are shell commands inside an instance.
struct Kernel {
  std::string backend;  ///< As in agent.yaml.
  std::string prepare;  ///< Makes an instance one where this backend is at home.
  std::string list;     ///< Prints our rules; fails if there are none.
  std::string list_all;  ///< Prints everybody's rules, without counters.
  std::string list_others;  ///< The same without ours.
  std::string redirect;  ///< Text that is in the list as soon as any service is redirected.
  std::string of_sample;  ///< Text that is in the list as long as the service `sample` has rules of a route.
  std::string held;      ///< Fails unless some service lets nobody in.
  std::string flush;     ///< All rules of everybody gone.
  std::vector<std::string> vandalism;
  std::string whole;     ///< Fails unless a flipped sample's redirect and the guard are in place.
  std::string intruder;  ///< Somebody's rules, of no effect on us.
  std::string diversion;  ///< Somebody's rule that takes this host's connections to port 80 to 9090, before ours.
  std::string way_out;   ///< The one line of the README: our rules gone, with nothing of ours.
  std::string drift_gone;  ///< What the history says after a flush.
  std::string commit;    ///< Commits a printed transaction in /root/transaction.
  std::string ten_percent;  ///< Text that is in the list at a share of 10 percent.
};

/// DUALDEPLOY_TEST_BACKEND: nftables (default) or iptables (legacy).
const Kernel& kernel();

}  // namespace dualdeploy::testing
