// SPDX-License-Identifier: Apache-2.0

/// One turn of a conversation.
package struct ChatMessage: Hashable, Sendable {
  /// Who speaks.
  package enum Role: String, Sendable {
    case system, user, assistant
  }

  package var role: Role
  package var content: String

  package init(role: Role, content: String) {
    self.role = role
    self.content = content
  }
}
