#include "workload/systemd.hpp"

namespace dualdeploy::workload {

bool is_up(const UnitView& view) {
  return view.active_state == "active" || view.active_state == "reloading" || view.active_state == "refreshing";
}

std::shared_ptr<Systemd> make_systemd(boost::asio::any_io_executor executor) {
#if DUALDEPLOY_SD_BUS
  return make_bus_systemd(std::move(executor));
#else
  return make_systemctl(std::move(executor));
#endif
}

}  // namespace dualdeploy::workload
