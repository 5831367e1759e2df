// SPDX-License-Identifier: Apache-2.0

internal import Device
internal import Step

/// Which draws the devices of a pipeline make by themselves.
enum DrawingSkill: Sendable {
  case none
  /// Those that take the largest logit of a row as it is.
  case largest
  case all

  init(_ device: any Device) {
    guard let drawer = device as? any TokenDrawer else {
      self = .none
      return
    }
    self = drawer.drawsAtRandom ? .all : .largest
  }

  func makes(_ draw: TokenDraw) -> Bool {
    switch self {
    case .none: false
    case .largest: draw.takesLargest && draw.isPlain
    case .all: true
    }
  }

  /// Whether they do something to logits before.
  var adjusts: Bool { self == .all }
}
