#include "eval/bench/process.h"

#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <nlohmann/json.hpp>
#include <thread>
#include <utility>

#include "base/fail.h"

namespace kvkeep::bench {

Result<Rival> Rival::start(const std::string& command) {
  int ends[2];  // a socket: writing to a program that ended is an error, not a signal
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
    return failed("rival: no socket: {}", std::strerror(errno));
  const char* text = command.c_str();
  const pid_t process = ::fork();
  if (process == 0) {
    ::dup2(ends[1], STDIN_FILENO);
    ::dup2(ends[1], STDOUT_FILENO);
    ::execl("/bin/sh", "sh", "-c", text, static_cast<char*>(nullptr));
    ::_exit(127);
  }
  ::close(ends[1]);
  if (process < 0) {
    ::close(ends[0]);
    return failed("rival: cannot start '{}': {}", command, std::strerror(errno));
  }
  return Rival(process, ends[0]);
}

Rival::Rival(Rival&& other) noexcept
    : process_(std::exchange(other.process_, -1)),
      line_(std::exchange(other.line_, -1)),
      pending_(std::move(other.pending_)) {}

Rival::~Rival() {
  if (process_ < 0) return;
  ::close(line_);
  ::waitpid(process_, nullptr, 0);
}

Result<Json> Rival::ask(const Json& question) {
  const std::string text = question.dump() + "\n";
  for (size_t sent = 0; sent < text.size();) {
    const ssize_t n = ::send(line_, text.data() + sent, text.size() - sent, MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return failed("rival: it ended: {}", std::strerror(errno));
    sent += static_cast<size_t>(n);
  }
  size_t end;
  while ((end = pending_.find('\n')) == std::string::npos) {
    char buffer[4096];
    const ssize_t n = ::recv(line_, buffer, sizeof buffer, 0);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return failed("rival: it ended without an answer to {}", question.dump());
    pending_.append(buffer, static_cast<size_t>(n));
  }
  const Json answer = Json::parse(pending_.substr(0, end), nullptr, false);
  pending_.erase(0, end + 1);
  if (!answer.is_object()) return failed("rival: the answer to {} is no JSON", question.dump());
  if (answer.contains("error"))
    return failed("rival: {}", answer["error"].is_string() ? answer["error"].get<std::string>()
                                                           : answer["error"].dump());
  return answer;
}

Result<CoreThief> CoreThief::start() {
  cpu_set_t cores, last;
  CPU_ZERO(&cores);
  CPU_ZERO(&last);
  if (::sched_getaffinity(0, sizeof cores, &cores) != 0)
    return failed("cannot tell which cores there are: {}", std::strerror(errno));
  for (int core = CPU_SETSIZE - 1; core >= 0 && CPU_COUNT(&last) == 0; --core)
    if (CPU_ISSET(core, &cores)) CPU_SET(core, &last);
  const pid_t process = ::fork();
  if (process < 0) return failed("cannot start a process: {}", std::strerror(errno));
  if (process == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    ::sched_setaffinity(0, sizeof last, &last);
    for (volatile unsigned spin = 0;;) spin = spin + 1;
  }
  CoreThief thief(process);
  thief.set(false);
  return thief;
}

void CoreThief::set(bool on) {
  ::kill(process_, on ? SIGCONT : SIGSTOP);
  std::this_thread::sleep_for(std::chrono::milliseconds(5));  // until it runs, or does not
}

CoreThief::~CoreThief() {
  if (process_ < 0) return;
  ::kill(process_, SIGKILL);
  ::waitpid(process_, nullptr, 0);
}

}  // namespace kvkeep::bench
