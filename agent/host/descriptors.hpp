#pragma once

namespace dualdeploy::host {

/// Has every descriptor but the standard ones closed at exec. Asio's sockets lack O_CLOEXEC, and the library's own closing
/// (1.81) leaves those open that are below its pipe: a program could keep a client's connection open. Async-signal-safe,
/// for a child between fork and exec.
void close_at_exec();

/// The ways that close_at_exec() tries one after the other. False: not on this kernel.
[[nodiscard]] bool close_at_exec_by_range();    ///< close_range(2) with CLOSE_RANGE_CLOEXEC, Linux 5.11.
[[nodiscard]] bool close_at_exec_by_listing();  ///< Those that /proc/self/fd lists.
void close_at_exec_by_limit();                  ///< One after the other, as many as there may be.

}  // namespace dualdeploy::host
