// SPDX-License-Identifier: Apache-2.0

/// Stops the process when `condition` is false: a bug in Silica, never an error of a user.
/// Stays on in release builds. Public, since the compiler inlines only public functions across
/// modules.
@inlinable
public func check(
  _ condition: @autoclosure () -> Bool, _ message: @autoclosure () -> String,
  file: StaticString = #fileID, line: UInt = #line
) {
  if !condition() { checkFailed(message(), file: file, line: line) }
}

public func checkFailed(_ message: String, file: StaticString, line: UInt) -> Never {
  fatalError("check failed: \(message)", file: file, line: line)
}
