"""Train a small convolutional network on scikit-learn's digits."""

import argparse

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class ConvNet(nn.Module):
    """Two convolutions with batch norm, and a linear classifier."""

    def __init__(self, width=16, num_classes=10):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, width, kernel_size=3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
            nn.Conv2d(width, 2 * width, kernel_size=3, padding=1, bias=False),
            nn.BatchNorm2d(2 * width),
            nn.ReLU(inplace=True),
            nn.AdaptiveAvgPool2d(1),
        )
        self.classifier = nn.Linear(2 * width, num_classes)

    def forward(self, images):
        return self.classifier(torch.flatten(self.features(images), 1))


def load_data():
    images, labels = load_digits(return_X_y=True)
    images = images.reshape(-1, 1, 8, 8).astype("float32") / 16
    splits = train_test_split(images, labels, test_size=500, random_state=0, stratify=labels)
    train_images, test_images, train_labels, test_labels = map(torch.from_numpy, splits)
    return TensorDataset(train_images, train_labels), TensorDataset(test_images, test_labels)


def parameter_groups(model, weight_decay):
    """No weight decay on biases and on the parameters of batch norm."""
    decay = [p for p in model.parameters() if p.ndim > 1]
    no_decay = [p for p in model.parameters() if p.ndim <= 1]
    return [{"params": decay, "weight_decay": weight_decay}, {"params": no_decay, "weight_decay": 0.0}]


def train_one_epoch(model, criterion, optimizer, data_loader):
    model.train()
    total_loss = 0.0
    for images, labels in data_loader:
        loss = criterion(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total_loss += loss.item()
    return total_loss / len(data_loader)


@torch.inference_mode()
def evaluate(model, data_loader):
    model.eval()
    correct = sum((model(images).argmax(1) == labels).sum().item() for images, labels in data_loader)
    return 100 * correct / len(data_loader.dataset)


def main(args):
    torch.manual_seed(args.seed)
    train_set, test_set = load_data()
    train_loader = DataLoader(train_set, batch_size=args.batch_size, shuffle=True, drop_last=True)
    test_loader = DataLoader(test_set, batch_size=500)
    model = ConvNet()
    criterion = nn.CrossEntropyLoss(label_smoothing=args.label_smoothing)
    optimizer = torch.optim.AdamW(parameter_groups(model, args.weight_decay), lr=args.lr)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=args.epochs)
    for epoch in range(args.epochs):
        loss = train_one_epoch(model, criterion, optimizer, train_loader)
        scheduler.step()
        accuracy = evaluate(model, test_loader)
        print(f"epoch {epoch + 1}/{args.epochs}  loss {loss:.4f}  acc@1 {accuracy:.2f}")


def get_args_parser():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-b", "--batch-size", default=32, type=int)
    parser.add_argument("--epochs", default=6, type=int)
    parser.add_argument("--lr", default=1e-2, type=float)
    parser.add_argument("--wd", "--weight-decay", dest="weight_decay", default=0.05, type=float)
    parser.add_argument("--label-smoothing", default=0.0, type=float)
    parser.add_argument("--seed", default=0, type=int)
    return parser


if __name__ == "__main__":
    args = get_args_parser().parse_args()
    main(args)
