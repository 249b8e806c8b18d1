"""What has to hold on every run: nothing lost, the same scores, bounded memory; measured."""
