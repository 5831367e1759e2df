// SPDX-License-Identifier: Apache-2.0

/// What came of a `TokenDraw`. Valid as long as the memory of its report.
package struct DrawnToken {
  /// A token, or one of the two below.
  package var id: Int32
  /// Filled where the draw asks for it.
  package var report: UnsafePointer<LogitReport>

  package init(id: Int32, report: UnsafePointer<LogitReport>) {
    self.id = id
    self.report = report
  }

  /// In place of a token: a logit is no finite number.
  package static let notFinite: Int32 = -1
  /// In place of a token: none may be drawn.
  package static let allMasked: Int32 = -2
}
