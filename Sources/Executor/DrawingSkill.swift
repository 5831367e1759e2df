// SPDX-License-Identifier: Apache-2.0

internal import Device
internal import Step

/// Which draws the devices of a pipeline make by themselves.
enum DrawingSkill: Sendable {
  case none
  /// Those that take the largest logit.
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
    case .largest: draw.takesLargest
    case .all: true
    }
  }
}
