// SPDX-License-Identifier: Apache-2.0

import Executor
import Synchronization

/// One line on the terminal that says how far the weights are. Any thread.
final class LoadProgressLine: Sendable {
  private let seats = Mutex<[Int: LoadProgress]>([:])
  private let action: String
  private let shownPercent = Atomic<Int>(-1)

  init(saying action: String = "loading weights") { self.action = action }

  func update(_ progress: LoadProgress) {
    guard Console.errorIsTerminal else { return }
    let percent = seats.withLock { seats in
      seats[progress.seat] = progress
      let total = seats.values.reduce(0) { $0 + $1.totalBytes }
      let loaded = seats.values.reduce(0) { $0 + $1.loadedBytes }
      return total == 0 ? 100 : loaded * 100 / total
    }
    guard shownPercent.exchange(percent, ordering: .relaxed) != percent else { return }
    Console.error("\rsilica: \(action) \(percent) %")
  }

  func finish() {
    if shownPercent.load(ordering: .relaxed) >= 0 { Console.error("\r\u{1B}[K") }
  }
}
